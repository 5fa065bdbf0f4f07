"""Properties checked around a run."""

from __future__ import annotations

from rocassay.harness.probes.allocations import Allocations
from rocassay.harness.probes.dispatch import Dispatch
from rocassay.harness.probes.host_sync import HostSync
from rocassay.harness.probes.memory import Bounds, Canary, InputsUnchanged, Order, Undefined
from rocassay.harness.probes.metamorphic import BatchInvariance, Invariance, Poison, Strides
from rocassay.harness.probes.pointers import Pointers
from rocassay.harness.probes.probe import Allowance, Observation, Probe
from rocassay.harness.probes.replay import RELAUNCHING
from rocassay.harness.probes.traffic import Traffic

EVERY_OP: tuple[Probe, ...] = (Bounds(), Canary(), InputsUnchanged(), HostSync(), Allocations())
"""Probes that no op can opt out of."""

OF_FINDINGS: tuple[Order | Undefined, ...] = (Order(), Undefined())
"""Probes of every op on an engine that looks for their kinds of findings."""

__all__ = [
    "EVERY_OP",
    "OF_FINDINGS",
    "RELAUNCHING",
    "Allocations",
    "Allowance",
    "BatchInvariance",
    "Dispatch",
    "HostSync",
    "Invariance",
    "Observation",
    "Pointers",
    "Poison",
    "Probe",
    "Strides",
    "Traffic",
]
