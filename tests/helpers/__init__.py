"""What the tests of several rooms share: networks, jobs, results, and the command line."""
