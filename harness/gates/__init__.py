"""Gates: (actual, golden, plan) -> verdict."""

from __future__ import annotations

from rocassay.harness.gates.exact import ExactBytes
from rocassay.harness.gates.verdict import Deviation, Verdict
from rocassay.harness.gates.whitened import Whitened

__all__ = ["Deviation", "ExactBytes", "Verdict", "Whitened"]
