"""What is checked before a job starts, and of every row: data, network, outputs, and autograd itself."""
