"""Operations with kinks, replaced by smooth ones in a copy of the network."""
