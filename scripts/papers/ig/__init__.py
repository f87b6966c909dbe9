"""The experiments of arXiv 1703.01365."""
