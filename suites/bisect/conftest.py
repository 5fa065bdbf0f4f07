"""Command lines in this process."""

from __future__ import annotations

from rocassay.suites.selftest.commandline import rocassay

__all__ = ["rocassay"]
