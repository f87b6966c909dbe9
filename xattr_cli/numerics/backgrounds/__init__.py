"""Means over the paths from every baseline of a background set."""
