"""What can go wrong in an evaluation; each message names the value, the limit and the next step."""

from __future__ import annotations

from rocassay.harness.errors import RocassayError


class AccuracyError(RocassayError):
    """An evaluation cannot be begun, continued or judged."""


class TaskError(AccuracyError):
    """The questions cannot be read or built."""


class UnlikeRuns(AccuracyError):
    """A run cannot be compared with its baseline: they did not answer the same questions under the same rules."""


class AnswererError(AccuracyError):
    """Whoever answers cannot be reached, or stopped answering; everything answered before is kept."""
