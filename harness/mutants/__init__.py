"""Mutation testing: small mistakes written into the shipped kernels' sources, each of which the cases must see."""
