"""A finished result file, read: rows, engines, effects, interactions and inputs."""
