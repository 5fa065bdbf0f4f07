"""Float64 goldens and float32 peers of rotary position embedding."""
