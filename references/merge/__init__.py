"""Float64 goldens and float32 peers of merging attention states."""
