"""The experiments of arXiv 2505.09660."""
