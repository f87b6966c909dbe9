"""Several result files beside each other: what differs between two, and the mean and spread of folds."""
