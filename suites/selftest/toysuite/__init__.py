"""Toy ops as another distribution would declare them, by entry point; only children of the self-tests see them."""
