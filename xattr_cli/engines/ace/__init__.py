"""Average causal effects, arXiv 1902.02302: what setting an input does, over a whole dataset."""
