"""What keeps a bisection from an answer; each message names the value, the limit and the next step."""

from __future__ import annotations

from rocassay.harness.errors import RocassayError


class BisectError(RocassayError):
    """A bisection cannot be begun, continued or believed."""


class CannotJudge(BisectError):
    """This point says nothing: its checkout cannot be prepared, or it has no answers. Its neighbours may."""
