"""Shares of the variance: intrinsic causal contributions, arXiv 2505.09660, and Sobol' indices."""
