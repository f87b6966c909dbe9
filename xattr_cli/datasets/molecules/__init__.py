"""Molecules from SMILES: graphs and fingerprints."""
