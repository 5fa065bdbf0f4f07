"""Isolation: a case that hangs, takes all memory or kills its process costs its own verdict and no other one."""

from __future__ import annotations

from rocassay.harness.isolation.clocks import CaseTimedOut
from rocassay.harness.isolation.deaths import Death, death_of, sweep, trace_of
from rocassay.harness.isolation.guard import Guard, guard_of_worker

__all__ = ["CaseTimedOut", "Death", "Guard", "death_of", "guard_of_worker", "sweep", "trace_of"]
