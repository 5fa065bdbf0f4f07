"""Goldens and torch peers of row-wise top-k and of the packing of ragged rows."""
