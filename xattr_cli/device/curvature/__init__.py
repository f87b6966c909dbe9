"""Second derivatives of a score: products, directions, and where a network has none."""
