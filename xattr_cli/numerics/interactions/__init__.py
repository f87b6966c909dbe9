"""Integrals of second derivatives along paths, and of their expectation over baselines."""
