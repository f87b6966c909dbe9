"""Commands on results: rows, other formats, comparisons."""
