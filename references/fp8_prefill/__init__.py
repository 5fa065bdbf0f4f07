"""Float64 goldens and torch peers of the FP8 prefill, and the judge of its plans."""
