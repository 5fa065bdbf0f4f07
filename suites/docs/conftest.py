"""Fixtures of the self-tests that walk-throughs need, too."""

from __future__ import annotations

from rocassay.suites.selftest.conftest import registry

__all__ = ["registry"]
