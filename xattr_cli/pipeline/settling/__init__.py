"""How a job is run: what its file leaves open is measured on some of its rows, once."""
