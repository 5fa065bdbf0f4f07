"""Contract: whether declared calls of another project's functions bind to a version of it, without importing it."""
