"""The mathematics: quadrature, path integrals, expectations, and the error of each; no files, no models."""
