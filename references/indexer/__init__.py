"""Float64 goldens, float32 peers and expected decisions of the sparse indexer."""
