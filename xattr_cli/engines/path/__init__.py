"""First-order methods: gradients on the paths from a baseline to each input."""
