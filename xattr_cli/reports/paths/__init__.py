"""Figures of interior gradients: saturation curves, and maps along the path."""
