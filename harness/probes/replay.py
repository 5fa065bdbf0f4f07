"""Replay probes: the same launch again gives the same bits, and is right on shorter requests in the same memory.

A captured graph repeats pointers, grids, strides and every other scalar of the capture, while lengths and indices in
device memory change under it. A row pitch that followed the batch's longest request, or metadata built on the first
call, is then stale in all rows but the first (vllm-project/vllm#51318, #52448).
"""

from __future__ import annotations

from dataclasses import dataclass

from rocassay.harness.errors import RocassayError
from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.probes.probe import Observation, Second, first_difference, first_difference_between


class OutsideGraphs(RocassayError):
    """What is being captured is never part of a graph: it takes numbers that its caller knows on the host."""


@dataclass(frozen=True, slots=True)
class Determinism:
    """The same launch on the same values, again and again: bit-equal each time.

    Only where programs run beside each other; the other engines take them in one order, and look for conflicts instead.
    """

    name: str = "determinism"
    reruns: bool = True
    repeats: int = 20
    """Further launches: what differs in one of seven is missed once in twenty cases."""

    def check(self, seen: Observation) -> Verdict:
        """Red when one of the launches gives other bits than the run."""
        reason = "atomics and races of programs give sums and lists in the order of the day"
        if seen.replayed is None:
            return Verdict.not_applicable(self.name, "programs run one after another", reason)
        for launch in range(1, self.repeats + 1):
            difference = first_difference(seen, seen.relaunch(seen.operands).outputs)
            if difference is not None:
                output, index = difference
                detail = f"launch {launch} of {self.repeats} gives other bits at {output}{list(index)}"
                return Verdict(self.name, False, detail, 1.0, 0.0, reason, output, index)
        return Verdict(self.name, True, f"bit-equal in {self.repeats} launches", 0.0, 0.0, reason)


@dataclass(frozen=True, slots=True)
class Replay:
    """The same launch on the same memory, refilled: pointers, shapes, scalars and the variant stay, values change.

    Needs no graphs, hence runs on every engine; it cannot see what a launcher computes anew on each call.
    """

    name: str = "replay"
    reruns: bool = True

    def check(self, seen: Observation) -> Verdict:
        """Red when the second result violates its own golden, or memory beside it changes."""
        reason = "a graph repeats the scalars of its capture; lengths in device memory are all that may change"
        second = seen.second()
        if isinstance(second, str):
            return Verdict.not_applicable(self.name, second, reason)
        again = seen.relaunch(second.operands)
        for name, expectation in second.expectations.items():
            for verdict in expectation.judge(name, again.outputs[name]):
                if not verdict.passed:
                    place = f" at {verdict.output}{list(verdict.index)}" if verdict.index else ""
                    detail = f"{second.what}, then {verdict.name}: {verdict.detail}{place}"
                    return Verdict(self.name, False, detail, 1.0, 0.0, reason)
        beside = [str(damage) for damage in seen.placed.damages()]
        beside += [f"{finding.kind.replace('_', ' ')} in {finding.kernel}" for finding in again.trace.findings]
        if beside:
            return Verdict(self.name, False, f"{second.what}, then {beside[0]}", float(len(beside)), 0.0, reason)
        return Verdict(self.name, True, f"right again on {second.what}", 0.0, 0.0, reason)


@dataclass(frozen=True, slots=True)
class GraphReplay:
    """The launch captured into a graph, its memory refilled, the graph replayed: bit-equal to an eager launch."""

    name: str = "graph-replay"
    reruns: bool = True

    def check(self, seen: Observation) -> Verdict:
        """Red when the launch cannot be captured, or the replay gives other bits than the eager launch."""
        reason = "decode steps are captured once at the longest length and replayed at every other"
        if seen.replayed is None:
            return Verdict.not_applicable(self.name, "only a device has graphs", reason)
        if seen.provider == "torch":
            return Verdict.not_applicable(self.name, "the peer is a yardstick, not a kernel", reason)
        second = seen.second()
        if isinstance(second, str):
            return Verdict.not_applicable(self.name, second, reason)
        eager = seen.relaunch(second.operands).outputs
        try:
            replayed = seen.replayed(second.operands)
        except OutsideGraphs as why:
            return Verdict.not_applicable(self.name, str(why), reason)
        except RuntimeError as error:
            detail = f"the launch cannot be captured: {str(error).partition(chr(10))[0]}"
            return Verdict(self.name, False, detail, 1.0, 0.0, reason)
        return self._compared(second, first_difference_between(eager, replayed, second.expectations), reason)

    def _compared(self, second: Second, difference: tuple[str, tuple[int, ...]] | None, reason: str) -> Verdict:
        if difference is None:
            return Verdict(self.name, True, f"the graph gives the eager bits on {second.what}", 0.0, 0.0, reason)
        output, index = difference
        detail = f"{second.what}: {output}{list(index)} of the replay is not the eager launch's"
        return Verdict(self.name, False, detail, 1.0, 0.0, reason)


RELAUNCHING = (Determinism(), Replay(), GraphReplay())
"""Probes of every op that launch again in the memory of the run itself: they come after all others."""
