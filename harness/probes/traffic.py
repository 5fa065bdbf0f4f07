"""Traffic probe: what must come from memory once is not loaded again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.probes.probe import Observation

SECOND_PASS = 1.5
"""Times the declared bytes that may be loaded: more than a ragged edge, less than everything twice."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes loaded from a tensor, against those of a single pass (engines that count loads)."""

    needed: Callable[[Observation], Mapping[str, int]]
    """Argument name -> bytes that one pass of this run loads from it, repetition by design included."""
    name: str = "traffic"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red with the tensor of which the largest multiple of the declared bytes was loaded."""
        reason = "a kernel that walks its keys twice takes twice the time: decode is bound by memory"
        reads = seen.trace.reads
        if seen.provider != "rocassay" or reads is None:
            who = "this engine" if reads is None else f"provider {seen.provider}"
            return Verdict(self.name, True, f"not counted: loads of {who} are not seen", reason=reason)
        due, guarded = self.needed(seen), seen.placed.guarded
        loaded = {name: reads.get(guarded[name].view.data_ptr(), 0) for name in due}
        factors = {name: count / due[name] if due[name] else float(count) for name, count in loaded.items()}
        worst = max(factors, key=lambda name: factors[name])
        detail = f"{loaded[worst]} bytes loaded from {worst}, one pass takes {due[worst]}"
        return Verdict(self.name, factors[worst] <= SECOND_PASS, detail, factors[worst], SECOND_PASS, reason)
