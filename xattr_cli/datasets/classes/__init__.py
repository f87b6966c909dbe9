"""Labels of samples, and the names of classes."""
