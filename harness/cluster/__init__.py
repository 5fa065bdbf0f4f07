"""A run on several machines: who can judge what, who gets what next, and what becomes of a machine that is lost."""
