"""Dispatch probe: the kernels that were launched are the ones the contract's table names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rocassay.harness.cases import Case
from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.probes.probe import Observation


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Kernel names, in order, that a case must launch; nothing more, nothing less."""

    expected: Callable[[Case], tuple[str, ...]]
    """Independent of the dispatcher: read off the contract's table."""
    name: str = "dispatch"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red when other kernels, or another number of them, were launched."""
        reason = "the dispatch table of the contract fixes the path for this arch, block size and ratio"
        if seen.provider != "rocassay":
            return Verdict(self.name, True, f"kernel names of provider {seen.provider} are its own", reason=reason)
        launched = tuple(launch.name for launch in seen.trace.launches)
        expected = self.expected(seen.case)
        detail = f"launched {' + '.join(launched) or 'nothing'}"
        if launched == expected:
            return Verdict(self.name, True, detail, float(len(launched)), float(len(expected)), reason)
        detail += f", expected {' + '.join(expected)} on {seen.case.arch}"
        return Verdict(self.name, False, detail, float(len(launched)), float(len(expected)), reason)
