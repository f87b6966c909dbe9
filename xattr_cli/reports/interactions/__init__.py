"""Figures of interactions: matrices, pairs, dependence."""
