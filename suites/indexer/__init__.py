"""Tests of the indexer family that are no cases: which parts fit together, and both paths bit for bit."""
