"""Networks of the transformers package, from a folder or an installed package."""
