"""Commands for a first result: a job to start from, and one line that needs no job file."""
