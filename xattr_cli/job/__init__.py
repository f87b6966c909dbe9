"""What a job file says: its sections, its validation, its schema and its documentation."""
