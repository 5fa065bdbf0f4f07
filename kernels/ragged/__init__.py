"""Builders of the ragged (CSR) index lists that sparse attention reads."""
