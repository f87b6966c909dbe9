"""How a network is run fastest, measured on the first rows of a job."""
