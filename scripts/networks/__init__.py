"""Networks and data that jobs, benchmarks and experiments are about: trained here, or fetched from a package."""
