"""One plugin of each sort, as another distribution would offer them."""
