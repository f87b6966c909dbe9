"""Methods that replace features by those of a baseline and watch the score: they ask for no gradient."""
