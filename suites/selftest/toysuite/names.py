"""Names and axes of the toy suite, to be read without declaring it."""

from __future__ import annotations

NAME = "toy_run"
FATAL = "toy_fatal"
EXPECTED_BLOCK_SIZE = 1
OTHER_BLOCK_SIZE = 16
SLOW_BLOCK_SIZE = 32
FATAL_BLOCK_SIZE = 64
SLOW_CASES = 24
FELLING = "toy_felling"
FELLING_BLOCK_SIZE = 128
MUTATED = "toy_mutated"
