"""The one error of this package."""

from __future__ import annotations

from rocassay.harness.errors import RocassayError


class AccuracyError(RocassayError):
    """Numbers from which no statistic can be made: the message names the value, the limit and the next step."""
