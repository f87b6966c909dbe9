"""What lies in files that nobody vouches for: read within bounds of time and memory, or refused in one line."""
