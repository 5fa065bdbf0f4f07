"""Memory probes of every op: canaries, unchanged inputs, accesses out of bounds, in no order, of nothing written."""

from __future__ import annotations

from dataclasses import dataclass

from rocassay.harness.engines.base import OUT_OF_BOUNDS, FindingKind
from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.probes.probe import Observation


@dataclass(frozen=True, slots=True)
class Canary:
    """Guard bands around tensors, the gaps of padded strides, and rows of nobody in workspaces keep their bytes."""

    name: str = "canary"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red with the first overwritten byte."""
        damages = seen.placed.damages()
        detail = "; ".join(str(damage) for damage in damages) or "every byte of nobody is intact"
        count = float(sum(damage.count for damage in damages))
        return Verdict(self.name, not damages, detail, count, 0.0, "an op owns its outputs and nothing else")


@dataclass(frozen=True, slots=True)
class InputsUnchanged:
    """The bytes of every input are the same after the run."""

    name: str = "inputs"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red with the names of the inputs that changed."""
        mutated = seen.placed.mutated_inputs()
        detail = f"changed: {', '.join(mutated)}" if mutated else "no input changed"
        return Verdict(self.name, not mutated, detail, float(len(mutated)), 0.0, "an op may not write its inputs")


@dataclass(frozen=True, slots=True)
class Bounds:
    """No lane reads or writes outside the memory it was given (engines that can see it)."""

    name: str = "bounds"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red with kernel, tensor and byte of the first access out of bounds."""
        reason = "every address must lie between the first and the last element of some argument"
        return _none_of(self.name, ADDRESSES, seen, "no access out of bounds", reason)


@dataclass(frozen=True, slots=True)
class Order:
    """Accesses of lanes, waves and workgroups that meet are ordered (engines that can see it)."""

    name: str = "order"
    reruns: bool = False
    kinds: frozenset[FindingKind] = frozenset(
        ["local_race", "missing_wait", "write_conflict", "read_conflict", "divergent_barrier"]
    )

    def check(self, seen: Observation) -> Verdict:
        """Red with the first race, missing wait, conflict of workgroups or divergent barrier."""
        reason = "what lanes of one store do to one byte nothing orders, and barriers, waits and atomics what others do"
        return _none_of(self.name, self.kinds, seen, "every access is ordered", reason)


@dataclass(frozen=True, slots=True)
class Undefined:
    """No output depends on registers or memory that nothing has written (engines that can see it)."""

    name: str = "undefined"
    reruns: bool = False
    kinds: frozenset[FindingKind] = frozenset(["uninitialised"])

    def check(self, seen: Observation) -> Verdict:
        """Red with the first byte that two kinds of junk make differ."""
        reason = "the outputs are bit-equal whatever registers and local memory held before the launch"
        return _none_of(self.name, self.kinds, seen, "no output depends on uninitialised data", reason)


ADDRESSES: frozenset[FindingKind] = frozenset([*OUT_OF_BOUNDS, "suppressed", "misaligned", "local_out_of_bounds"])
"""Accesses that go where they must not."""


def _none_of(name: str, kinds: frozenset[FindingKind], seen: Observation, fine: str, reason: str) -> Verdict:
    findings = [finding for finding in seen.trace.findings if finding.kind in kinds]
    if not findings:
        return Verdict(name, True, fine, 0.0, 0.0, reason)
    detail = f"{findings[0]}; {len(findings)} places"
    return Verdict(name, False, detail, float(len(findings)), 0.0, reason)
