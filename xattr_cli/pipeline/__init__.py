"""From a job to a file: opening, probing, explaining, studying, and the parts that are left on the way."""
