"""Shares of the variance of a function: designs, estimators, and their standard errors."""
