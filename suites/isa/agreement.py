"""Three-way agreement: interpreter = machine code = float64, whatever way the machine code is made.

`python -m rocassay.suites.isa.agreement [OP...] [--step N] [-n WORKERS]` judges quick-tier cases of both chips against
their float64 golden on the interpreter and as machine code, and runs every launch again, with one, two and three
pipeline stages, with flat in place of buffer addressing, and through the other entry point: the bytes must not change.
"""

# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportCallIssue=false
from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from triton import knobs
from triton.compiler.errors import CompilationError

from rocassay.harness.arena import Placed
from rocassay.harness.cases import Case
from rocassay.harness.engines.base import engine
from rocassay.harness.engines.isa.codeobj import ARCHES, compiled
from rocassay.harness.engines.isa.engine import IsaEngine
from rocassay.harness.engines.isa.launching import Settings, execute
from rocassay.harness.engines.launch import Launch, intercepted
from rocassay.harness.errors import RocassayError
from rocassay.harness.implementation import Implementation
from rocassay.harness.inputs import Stream
from rocassay.harness.ops import discover, op_named
from rocassay.harness.providers import provider

LARGEST = 1 << 28
"""Bytes of a tensor up to which a launch is repeated; the few above are judged once."""

STAGES = (1, 2, 3)

PAGE = 4096
"""Bytes to which addresses in memory are alike in a copy."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to make and start the machine code of a launch."""

    name: str
    options: Mapping[str, int]
    settings: Settings
    buffer: bool = True


WAYS = (
    *(Way(f"num_stages={stages}", {"num_stages": stages}, Settings()) for stages in STAGES),
    Way("flat addressing", {}, Settings(), buffer=False),
    Way("compatible entry", {}, Settings(entry="compatible")),
)


@dataclass(frozen=True, slots=True)
class Found:
    """What one case showed.

    Attributes:
        case: its id.
        wrong: everything that does not agree, in words.
        ways: launches that were repeated, by way.
        large: launches whose tensors are too large to repeat.
    """

    case: str
    wrong: tuple[str, ...]
    ways: Mapping[str, int]
    large: int


def agree(case: Case) -> Found:
    """Judge a case on both engines and repeat its launches in every way."""
    discover()
    op = op_named(case.op)
    operands = op.inputs(case, Stream.of(case))
    golden = op.golden(case, operands)
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    large = 0

    def handle(launch: Launch, _: object) -> None:
        nonlocal large
        large += not _repeat(launch, case.arch, wrong, counts)

    for name in ("interpreter", "isa"):
        placed = Placed(operands, torch.device("cpu"))
        launcher = _launcher(name, case, placed)
        if name == "isa":
            with intercepted(handle):
                launcher()
        else:
            with engine(name).session():
                launcher()
        outputs = placed.outputs()
        wrong += [
            f"{name}: {verdict.name}: {verdict.detail}"
            for output, expected in golden.items()
            for verdict in expected.judge(output, outputs[output])
            if not verdict.passed
        ]
    return Found(str(case), tuple(wrong), dict(counts), large)


def _launcher(name: str, case: Case, placed: Placed) -> Any:
    op = op_named(case.op)
    implementation = Implementation(provider("rocassay"), IsaEngine() if name == "isa" else engine(name))
    return implementation.launcher(op, case, placed.arguments(), implementation.variant(op, case))


def _repeat(launch: Launch, arch: str, wrong: list[str], counts: Counter[str]) -> bool:
    """Run a launch, then again in every way on the same bytes; False when it is too large to repeat."""
    if not all(launch.grid):
        return True
    tensors = {name: value for name, value in launch.args.items() if isinstance(value, torch.Tensor)}
    small = all(tensor.untyped_storage().nbytes() <= LARGEST for tensor in tensors.values())
    before = _copied(tensors) if small else {}
    code = compiled(launch, arch)
    outcome = execute(code, launch, Settings())
    wrong += [str(finding) for finding in outcome.findings]
    # Gluon says itself how a kernel is staged and addressed.
    plain = not launch.kernel.is_gluon()
    for way in [way for way in WAYS if plain or (way.buffer and not way.options)] if small else ():
        fresh = _copied(before)
        again = replace(launch, args={**launch.args, **fresh}, options={**launch.options, **way.options})
        try:
            other = code if way.buffer and not way.options else _compiled(again, arch, buffer=way.buffer)
            repeated = execute(other, again, way.settings)
        except (RocassayError, CompilationError) as error:
            wrong.append(f"{way.name}: {launch.name}: {type(error).__name__}: {error}")
            continue
        counts[way.name] += 1
        wrong += [f"{way.name}: {finding}" for finding in repeated.findings]
        for name in outcome.outputs:
            if _bytes(fresh[name]) != _bytes(tensors[name]):
                wrong.append(f"{way.name}: {launch.name} writes other bytes to {name}")
    return small


def _compiled(launch: Launch, arch: str, *, buffer: bool) -> Any:
    with knobs.amd.scope():
        knobs.amd.use_buffer_ops = buffer
        return compiled(launch, arch)


def _copied(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors in memory of their own, at addresses of the same alignment; those that share memory still do."""
    storages: dict[int, torch.Tensor] = {}
    for one in tensors.values():
        place, size = one.untyped_storage().data_ptr(), one.untyped_storage().nbytes()
        if place not in storages:
            room = torch.empty(size + PAGE, dtype=torch.uint8)
            storages[place] = room[(place - room.data_ptr()) % PAGE :][:size]
            storages[place].copy_(torch.empty(0, dtype=torch.uint8).set_(one.untyped_storage(), 0, (size,)))
    return {name: _view(storages[one.untyped_storage().data_ptr()], one) for name, one in tensors.items()}


def _view(storage: torch.Tensor, one: torch.Tensor) -> torch.Tensor:
    """What `one` is of its storage, of another one's bytes."""
    width = one.element_size()
    begin = int(storage.storage_offset()) // width + int(one.storage_offset())
    return torch.empty(0, dtype=one.dtype).set_(storage.untyped_storage(), begin, one.shape, one.stride())


def _extent(tensor: torch.Tensor) -> int:
    if not tensor.numel():
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _bytes(tensor: torch.Tensor) -> bytes:
    return torch.as_strided(tensor, (_extent(tensor),), (1,)).view(torch.uint8).numpy().tobytes()


def chosen(ops: Sequence[str], step: int) -> list[Case]:
    """Every `step`-th quick-tier case of both chips, of each op from its first on."""
    every = discover()
    every = [op_named(name) for name in ops] if ops else every
    return [case for op in every for case in [c for c in op.cases("quick") if c.arch in ARCHES][::step]]


def results(cases: Sequence[Case], workers: int) -> Iterator[Found]:
    """As they come."""
    if workers <= 1:
        yield from map(agree, cases)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(agree, cases, chunksize=4)


def main(
    ops: Annotated[list[str] | None, typer.Argument(help="Only these ops.")] = None,
    step: Annotated[int, typer.Option("--step", help="Every how many-th case of an op.")] = 1,
    workers: Annotated[int, typer.Option("-n", help="Processes.")] = 2,
) -> None:
    """Check the agreement of interpreter, machine code and float64; exit code 0 iff nothing disagrees."""
    console, begin = Console(width=140), time.perf_counter()
    cases = chosen(ops or (), step)
    ways: Counter[str] = Counter()
    bad = large = 0
    for number, found in enumerate(results(cases, workers), start=1):
        ways.update(found.ways)
        large += found.large
        bad += bool(found.wrong)
        for what in found.wrong[:3]:
            console.print(f"RED {found.case}: {what}", style="red", markup=False, highlight=False, soft_wrap=True)
        if number % 50 == 0:
            console.print(f"{number} of {len(cases)} cases, {time.perf_counter() - begin:.0f} s", highlight=False)
    told = ", ".join(f"{count} with {name}" for name, count in ways.items())
    console.print(f"{len(cases)} cases, {bad} disagree; launches repeated: {told}; too large to repeat: {large}")
    console.print(f"{time.perf_counter() - begin:.0f} s", highlight=False)
    raise typer.Exit(1 if bad else 0)


if __name__ == "__main__":
    typer.run(main)
