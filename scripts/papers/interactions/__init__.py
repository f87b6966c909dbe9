"""The experiments of arXiv 2002.04138."""
