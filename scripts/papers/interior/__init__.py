"""The experiments of arXiv 1611.02639."""
