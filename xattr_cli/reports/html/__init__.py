"""The report: one HTML file of one or several result files, which needs nothing else."""
