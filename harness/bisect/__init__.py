"""Which point of a history, a commit or a version, turned a verdict red."""
