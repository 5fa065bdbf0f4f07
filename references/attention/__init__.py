"""Float64 goldens and torch peers of sparse attention."""
