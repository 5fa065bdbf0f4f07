"""Merging attention states: kernel, launcher and the decisions that choose it."""
