"""Device functions and launch helpers that several ops share."""
