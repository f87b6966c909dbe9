"""Regressors of a result file on new samples, without the network."""
