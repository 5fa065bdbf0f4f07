"""Memory probes of every op: canaries, unchanged inputs, accesses out of bounds."""

from __future__ import annotations

from dataclasses import dataclass

from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.probes.probe import Observation


@dataclass(frozen=True, slots=True)
class Canary:
    """Guard bands around every tensor, and the gaps of padded strides, keep their bytes."""

    name: str = "canary"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red with the first overwritten byte."""
        damages = seen.placed.damages()
        detail = "; ".join(str(damage) for damage in damages) or "every guard byte is intact"
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
    """No lane reads or writes outside the tensors it was given (engines that can see it)."""

    name: str = "bounds"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red with kernel, tensor and byte of the first access out of bounds."""
        findings = seen.trace.findings
        reason = "every address must lie between the first and the last element of some argument"
        if not findings:
            return Verdict(self.name, True, "no access out of bounds", 0.0, 0.0, reason)
        first = findings[0]
        line = f" at line {first.line}" if first.line else ""
        detail = (
            f"{first.kind.replace('_', ' ')} in {first.kernel}{line}, program {first.program}: "
            f"byte {first.byte_offset} relative to {first.tensor}, {first.lanes} lanes; {len(findings)} places"
        )
        return Verdict(self.name, False, detail, float(len(findings)), 0.0, reason)
