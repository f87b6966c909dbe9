"""Figures and tables of a result file; everything here reads the file, never the model."""
