"""Integrals made of secant cells: where they lie, what they sum to, how wrong they are, and how many it takes."""
