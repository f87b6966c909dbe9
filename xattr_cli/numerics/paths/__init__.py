"""Integrals of gradients along straight paths, and of their expectation over baselines."""
