"""What is measured: error bars, speed, memory, placements of nodes."""
