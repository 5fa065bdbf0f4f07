"""Isolation: a case that hangs, takes all memory or kills its process costs its own verdict and no other one."""
