"""Tests of what README and docs/ claim."""
