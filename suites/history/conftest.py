"""Command lines in this process."""

from rocassay.suites.selftest.commandline import Done, Rocassay, rocassay

__all__ = ["Done", "Rocassay", "rocassay"]
