"""Explain trained networks in batch: attributions with error bars, from a YAML job to an HDF5 file."""

__version__ = "0.1.0"
