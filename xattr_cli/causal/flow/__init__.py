"""Noise models that are fitted to data: monotone flows along a causal graph."""
