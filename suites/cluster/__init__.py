"""Measurements of runs on a cluster."""
