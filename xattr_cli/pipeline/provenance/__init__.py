"""Where a result comes from: the code behind it, and the files that it was computed from."""
