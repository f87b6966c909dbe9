"""Figures of single rows: images, tokens, molecules, bars."""
