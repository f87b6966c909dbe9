"""The experiments of arXiv 1902.02302."""
