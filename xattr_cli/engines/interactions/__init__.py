"""Second-order methods, arXiv 2002.04138: how much of a feature's attribution is due to another."""
