"""Properties checked around a run."""

from __future__ import annotations

from rocassay.harness.probes.dispatch import Dispatch
from rocassay.harness.probes.host_sync import HostSync
from rocassay.harness.probes.memory import EVERY_OP
from rocassay.harness.probes.metamorphic import Invariance, Poison, Strides
from rocassay.harness.probes.probe import Observation, Probe

__all__ = ["EVERY_OP", "Dispatch", "HostSync", "Invariance", "Observation", "Poison", "Probe", "Strides"]
