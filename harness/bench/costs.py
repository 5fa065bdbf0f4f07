"""Cost without a clock: what cases execute and move as machine code, counted, recorded and compared.

The counts are the same on every machine, so that a difference is a difference of the code: of a kernel, of the
compiler, or of the path that a launcher takes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rocassay.harness.arch import profile
from rocassay.harness.bench.records import CostRecord
from rocassay.harness.cases import Case
from rocassay.harness.environment import commit, versions
from rocassay.harness.errors import RocassayError
from rocassay.harness.ops import Op, discover, op_named
from rocassay.harness.results import COSTS, Status

ENGINE = "isa"
"""The engine that counts."""

RECORDED = "costs.json"
"""File beside the shipped benches that holds the recorded counts."""

ALLOWED = 1.02
"""Times the base's count that a head may have: less than any pass, kernel or flavour too much."""


def cost_cases(
    ops: Sequence[str] = (), words: Sequence[str] = (), applies: Callable[[Case], bool] = lambda _: True
) -> list[Case]:
    """The cases that are counted: the quick tier's first of every op, chip and block size, in the chip's FP8 format.

    ops: only these; words: only cases whose id contains all of them; applies: only cases that it accepts.
    RocassayError when none is left.
    """
    every = discover()
    chosen = [op_named(name) for name in ops] if ops else every
    found = [case for op in chosen for case in _first_of_each(op, words, applies)]
    if not found:
        raise RocassayError("no case matches the filters; `rocassay bench --engine isa --list` shows what there is")
    return found


def _first_of_each(op: Op, words: Sequence[str], applies: Callable[[Case], bool]) -> list[Case]:
    chosen: dict[tuple[str, int], Case] = {}
    for case in op.cases("quick"):
        if not applies(case) or not all(word in str(case) for word in words):
            continue
        key, native = (case.arch, case.block_size), profile(case.arch).native_fp8
        held = chosen.get(key)
        if held is None or (case.fp8 in native and held.fp8 not in native):
            chosen[key] = case
    return list(chosen.values())


def measured(cases: Sequence[Case], provider: str, fault: str | None, workers: int) -> Iterator[CostRecord]:
    """The record of each case, as it is ready; cases of one op in one process, so that a kernel is parsed once."""
    job = functools.partial(_record, provider, fault)
    if workers <= 1:
        yield from map(job, (str(case) for case in cases))
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(job, [str(case) for case in cases], chunksize=4)


def _record(provider_name: str, fault_name: str | None, case_id: str) -> CostRecord:
    from rocassay.harness.engines.base import engine
    from rocassay.harness.faults import fault_named
    from rocassay.harness.judge import Judge
    from rocassay.harness.providers import provider

    case = Case.parse(case_id)
    judge = Judge(provider(provider_name), engine(ENGINE), "quick", "")
    found = judge(case, fault_named(fault_name) if fault_name else None)
    right = found.status is Status.PASSED or (fault_name is not None and found.status is Status.FAILED)
    return CostRecord(
        case=case_id,
        op=case.op,
        arch=case.arch,
        provider=provider_name,
        fault=fault_name,
        status="counted" if right else "wrong",
        reason="" if right else f"{found.status.value}: {found.reason}",
        kernels=found.launches,
        counts=found.counts,
        versions=versions(),
        commit=commit(),
    )


Costs = Mapping[str, Mapping[str, int]]
"""Case id -> count -> how many."""


def costs_of(records: Iterable[CostRecord]) -> dict[str, dict[str, int]]:
    """The counts of all records that hold some; the last of a case wins."""
    return {record.case: record.counts for record in records if record.status == "counted"}


@dataclass(frozen=True, slots=True)
class Change:
    """A count that is not what it was."""

    case: str
    count: str
    base: int
    head: int

    @property
    def ratio(self) -> float:
        """Head over base; infinite where there was none."""
        return self.head / self.base if self.base else float("inf")

    @property
    def worse(self) -> bool:
        """Whether it is a regression: of a judged count more than `ALLOWED` times as many."""
        return self.count in COSTS and self.head > ALLOWED * self.base

    @property
    def told(self) -> str:
        """The count, both values and their ratio."""
        return f"{self.count.replace('_', ' ')} {self.base} -> {self.head} ({self.ratio:.2f}x)"


def changes(base: Costs, head: Costs) -> list[Change]:
    """Every count that differs in a case that both have, the worst ratio first."""
    found = [
        Change(case, name, before.get(name, 0), after.get(name, 0))
        for case, after in head.items()
        if (before := base.get(case)) is not None
        for name in {**before, **after}
        if before.get(name, 0) != after.get(name, 0)
    ]
    return sorted(found, key=lambda change: (not change.worse, -change.ratio, change.case))


@dataclass(frozen=True, slots=True)
class Recorded:
    """Counts that are kept with the project.

    Attributes:
        triton: release that compiled; another one's code may cost something else.
        costs: the counts.
    """

    triton: str
    costs: Costs


def recorded() -> Recorded:
    """The counts kept beside the shipped benches; RocassayError where the file is missing."""
    from rocassay.harness.bench.bench import BENCHES

    file = resources.files(BENCHES) / RECORDED
    if not file.is_file():
        raise RocassayError(
            f"there is no {RECORDED} beside {BENCHES}; write it with `rocassay bench --engine isa --record`"
        )
    held = json.loads(file.read_text())
    return Recorded(held["triton"], held["costs"])


def record(costs: Costs, triton: str) -> Path:
    """Write the counts beside the shipped benches, in a stable order, keeping those of cases that were not run."""
    from rocassay.harness.bench.bench import BENCHES

    path = Path(str(resources.files(BENCHES) / RECORDED))
    former: Costs = json.loads(path.read_text())["costs"] if path.is_file() else {}
    kept = sorted({**former, **costs}.items())
    lines = ",\n".join(f" {json.dumps(case)}: {json.dumps(counts, sort_keys=True)}" for case, counts in kept)
    path.write_text(f'{{"triton": {json.dumps(triton)}, "costs": {{\n{lines}\n}}}}\n')
    return path
