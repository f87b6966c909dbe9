"""How a score follows when features are replaced in the order of their importance."""
