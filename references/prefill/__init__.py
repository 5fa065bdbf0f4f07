"""Goldens and peers of the prefill indexer."""
