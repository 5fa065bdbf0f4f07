"""Command lines in this process."""

from rocassay.suites.selftest.commandline import rocassay

__all__ = ["rocassay"]
