"""Reference arithmetic that several ops share."""
