"""Arrays as they lie in files, read by slices: what was cut off or is missing is an error, never a number."""
