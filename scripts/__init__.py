"""Benchmarks, the experiments of the papers, and the networks that both need."""
