"""Every error that rocassay raises on purpose."""

from __future__ import annotations


class RocassayError(Exception):
    """Base of all errors meant for a user: the message names the value, the limit and the next step."""
