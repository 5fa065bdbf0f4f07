"""Recorded results of the ISA documents' pseudocode."""
