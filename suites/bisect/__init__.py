"""Bisection: histories with a planted change, and what the search makes of them."""
