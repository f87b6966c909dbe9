"""Commands for jobs that many processes share."""
