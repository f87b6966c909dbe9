"""Expectations under interventions: moments, regressors over α, and what they attribute."""
