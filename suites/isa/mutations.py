"""How many mistakes the machine-code engine finds: `python -m rocassay.suites.isa.mutations`.

Over shipped kernels on both chips, each mistake alone: every barrier removed, every wait relaxed by 1, by 8 and
entirely, every tensor shortened by up to 64 elements. Not held against the engine, but counted:

- not reached: code that this launch does not come to, a relaxed wait that leaves nothing under way in this launch of
  what is used, a tensor whose end the clean run does not touch;
- equivalent: a barrier without which no two waves meet in local memory (see `locallog`), a relaxed wait whose
  operations nothing uses before they are waited for (see `waits`), by arguments that know nothing of the engine's.

The clean runs come first and must be without findings. Exit 1 where the rates are missed: barriers and tensors 100 %,
waits 95 %.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

from rocassay.harness.arch import profile
from rocassay.harness.arena import Placed
from rocassay.harness.engines.isa.asm import Unsupported
from rocassay.harness.engines.isa.codeobj import ARCHES, CompiledLaunch, compiled
from rocassay.harness.engines.isa.engine import IsaEngine
from rocassay.harness.engines.isa.launching import Outcome, Settings, execute
from rocassay.harness.engines.isa.machine import Hung
from rocassay.harness.engines.isa.waits import Use, Waits
from rocassay.harness.engines.launch import Launch, intercepted
from rocassay.harness.implementation import Implementation
from rocassay.harness.inputs import Stream
from rocassay.harness.ops import discover
from rocassay.harness.providers import provider
from rocassay.suites.isa.mutants import Kind, Mutant, Subject, relaxed_waits, without_barriers

if TYPE_CHECKING:
    from rocassay.harness.ops import Op

Fate: TypeAlias = Literal["killed", "survived", "equivalent", "not reached"]

FATES: tuple[Fate, ...] = ("killed", "survived", "equivalent", "not reached")

REQUIRED: dict[Kind, float] = {"barrier": 1.0, "wait": 0.95, "tensor": 1.0}
"""Least share of mistakes found, of those that matter in the launch."""

SETTINGS = Settings(junk=(0x7FC12345,))


@dataclass(slots=True)
class Tally:
    """What became of the mutants of one kind."""

    fates: Counter[Fate] = field(default_factory=Counter[Fate])
    survivors: list[str] = field(default_factory=list[str])

    @property
    def rate(self) -> float:
        """Share found; 1 when there was nothing to find."""
        asked = self.fates["killed"] + self.fates["survived"]
        return self.fates["killed"] / asked if asked else 1.0


def launches(op: Op, arch: str, count: int) -> Iterator[Launch]:
    """Launches of an op's first quick cases on a chip with its own FP8 format; each is carried out when taken."""
    native = profile(arch).native_fp8
    chosen = [case for case in op.cases("quick") if case.arch == arch and case.fp8 in native] or [
        case for case in op.cases("quick") if case.arch == arch
    ]
    for case in chosen[:: max(1, len(chosen) // count)][:count]:
        placed = Placed(op.inputs(case, Stream.of(case)), torch.device("cpu"))
        found: list[Launch] = []
        implementation = Implementation(provider("rocassay"), IsaEngine())

        def handle(launch: Launch, _: object, arch: str = arch, found: list[Launch] = found) -> None:
            found.append(replace(launch, args=_copied(launch)))
            execute(compiled(launch, arch), launch, SETTINGS)

        with intercepted(handle):
            implementation.launcher(op, case, placed.arguments(), implementation.variant(op, case))()
        yield from found


def _copied(launch: Launch) -> dict[str, object]:
    """Arguments whose tensors nobody else writes; those that share memory still do."""
    copies: dict[int, torch.Tensor] = {}

    def copy(value: object) -> object:
        if not isinstance(value, torch.Tensor):
            return value
        storage = value.untyped_storage()
        held = copies.setdefault(storage.data_ptr(), torch.tensor([], dtype=torch.uint8).set_(storage).clone())
        empty = torch.tensor([], dtype=value.dtype)
        return empty.set_(held.untyped_storage(), value.storage_offset(), value.shape, value.stride())

    return {name: copy(value) for name, value in launch.args.items()}


def staged(launch: Launch, arch: str) -> Iterator[Launch]:
    """The launch, and with one to three stages where it has matrix instructions in a loop that can be pipelined."""
    yield launch
    instructions = compiled(launch, arch).program.instructions
    if any(one.name.startswith("v_mfma") for one in instructions):
        for stages in (1, 2, 3):
            if launch.options.get("num_stages") != stages:
                yield replace(launch, options={**launch.options, "num_stages": stages})


def subjects(names: Sequence[str], arches: Iterable[str], count: int, longest: int) -> Iterator[Subject]:
    """One subject for every program of the ops; those that run more than `longest` wave-instructions are left out."""
    seen: set[str] = set()
    for op in discover():
        if names and not any(name in op.name for name in names):
            continue
        for arch in arches:
            for first in launches(op, arch, count):
                for launch in staged(first, arch):
                    try:
                        code = compiled(launch, arch)
                    except Exception as error:
                        _say(f"{launch.name} {arch} {launch.options}: does not compile: {str(error)[:80]}")
                        continue
                    if code.text not in seen and all(launch.grid) and _fits(code):
                        seen.add(code.text)
                        subject = Subject(code, launch, SETTINGS)
                        if subject.clean.counts.total <= longest:
                            yield subject


def _fits(code: CompiledLaunch) -> bool:
    return code.lds_bytes <= profile(code.arch).lds_bytes


def fate(subject: Subject, mutant: Mutant, known: frozenset[Use]) -> Fate:
    """What becomes of a mutant; `known` are the uses that the clean program has already."""
    if not subject.executed(mutant.number):
        return "not reached"
    try:
        if subject.run(mutant).findings:
            return "killed"
    except (Hung, Unsupported):
        # Red as well: the mistake made the program jump or reach where the engine refuses to follow.
        return "killed"
    if mutant.kind == "barrier":
        return "survived" if subject.meets(mutant) else "equivalent"
    uses = [use for use in Waits(mutant.program).uses() if use not in known]
    if not uses:
        return "equivalent"
    left, instructions = subject.leaves(mutant), mutant.program.instructions
    reached = [use for use in uses if subject.executed(use.user) and instructions[use.operation].text in left]
    if not reached:
        return "not reached"
    registers = [use for use in reached if not use.local]
    return "survived" if registers or subject.meets(mutant) else "equivalent"


def tensor_fates(subject: Subject, tally: Tally) -> None:
    """Count the shortened tensors of a launch."""
    for name, cut, launch, touched in subject.shortened():
        if not touched:
            tally.fates["not reached"] += 1
            continue
        found = subject.run_shortened(launch).findings
        seen = any(one.kind.startswith("out_of_bounds") and one.subject == name for one in found)
        tally.fates["killed" if seen else "survived"] += 1
        if not seen:
            tally.survivors.append(f"{title(subject)}: {name} shortened by {cut}")


def judge(subject: Subject, tallies: dict[Kind, Tally]) -> None:
    """Count all mutants of a launch."""
    known: frozenset[Use] = frozenset()
    if any(one.name == "s_waitcnt" for one in subject.code.program.instructions):
        known = frozenset(Waits(subject.code.program).uses())
    for make in (without_barriers, relaxed_waits):
        for mutant in make(subject.code.program):
            if make is without_barriers and subject.code.num_warps == 1:
                tallies["barrier"].fates["equivalent"] += 1
                continue
            result = fate(subject, mutant, known)
            tallies[mutant.kind].fates[result] += 1
            if result == "survived":
                where = subject.code.program.instructions[mutant.number].where
                tallies[mutant.kind].survivors.append(f"{title(subject)} [{mutant.number}] {where}: {mutant.what}")
    tensor_fates(subject, tallies["tensor"])


def title(subject: Subject) -> str:
    """The launch in a few words."""
    options = subject.launch.options
    stages = f" num_stages={options['num_stages']}" if "num_stages" in options else ""
    return f"{subject.launch.name} {subject.code.arch}{stages}"


def dirty(outcome: Outcome) -> list[str]:
    """Findings of a clean run, which has none."""
    return [str(finding) for finding in outcome.findings]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants and print the table; 0 when all rates are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ops", nargs="*", help="parts of op names; all ops when none is given")
    parser.add_argument("--arch", action="append", choices=ARCHES, help="default: both")
    parser.add_argument("--cases", type=int, default=1, help="quick cases of each op and chip (default 1)")
    parser.add_argument("--longest", type=int, default=60_000, help="wave-instructions of a launch at most")
    chosen = parser.parse_args(arguments)
    tallies: dict[Kind, Tally] = {"barrier": Tally(), "wait": Tally(), "tensor": Tally()}
    unclean = 0
    for subject in subjects(chosen.ops, chosen.arch or ARCHES, chosen.cases, chosen.longest):
        begun = time.monotonic()
        for sentence in dirty(subject.clean):
            unclean += 1
            _say(f"CLEAN RUN OF {title(subject)}: {sentence}")
        judge(subject, tallies)
        counts = "; ".join(f"{kind} {dict(tally.fates)}" for kind, tally in tallies.items())
        _say(f"{title(subject)} ({time.monotonic() - begun:.0f} s): {counts}")
    missed = [kind for kind, tally in tallies.items() if tally.rate < REQUIRED[kind]]
    _say(f"\n{'mistake':10}" + "".join(f"{fate_:>13}" for fate_ in FATES) + f"{'found':>10}{'required':>10}")
    for kind, tally in tallies.items():
        numbers = "".join(f"{tally.fates[one]:13}" for one in FATES)
        _say(f"{kind:10}{numbers}{tally.rate:10.1%}{REQUIRED[kind]:10.0%}")
    for tally in tallies.values():
        for survivor in tally.survivors:
            _say(f"survived: {survivor}")
    if unclean:
        _say(f"{unclean} findings on clean kernels")
    return 1 if missed or unclean else 0


if __name__ == "__main__":
    sys.exit(main())
