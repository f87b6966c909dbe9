"""The package from Python: networks and arrays in memory, results as pandas, xarray and pictures."""
