"""What a calibration refuses."""

from __future__ import annotations

from rocassay.harness.errors import RocassayError


class CalibrationError(RocassayError):
    """A calibration that cannot be made, read, or used for this run."""
