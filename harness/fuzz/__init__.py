"""Fuzzing: cases that nobody wrote down, drawn by hypothesis from what an op declares, and shrunk where they are red.

Only `rocassay fuzz` imports this package: hypothesis is an optional dependency.
"""
