"""What a history keeps of a run of kernel cases: far less than its records, and all that a trend needs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from rocassay.harness.accuracy.history.database import HistoryError
from rocassay.harness.results import COSTS, Assay, CaseRecord, RunHeader, Status, measured, seconds_of

SIGN_OF_COUNTS = "wave_instructions"
"""Only an engine that executes machine code counts these."""

LONGEST = 400
"""Characters of the kernels' names together, at most."""


@dataclass(frozen=True, slots=True)
class KernelRun:
    """A run of kernel cases, as a whole."""

    run_id: str
    """Identifies it."""
    started: str
    """UTC, ISO 8601."""
    finished: str
    """UTC, ISO 8601."""
    seconds: float
    """Wall time."""
    tier: str
    """quick, full or nightly."""
    provider: str
    """Whose implementation was judged."""
    engine: str
    """What executed it."""
    device: str
    """On which device."""
    revision: str
    """Commit of the checkout."""
    command: str
    """Command line."""
    versions: dict[str, str]
    """Versions of everything that computed."""
    status: str
    """green or red."""
    reasons: tuple[str, ...]
    """Why it is red."""
    cases: int
    """Cases without a fault."""
    not_passed: int
    """Those that did not pass."""
    drills: int
    """Cases with an injected fault."""


@dataclass(frozen=True, slots=True)
class Series:
    """What the cases of one op, architecture, flavour and engine measured in one run."""

    op: str
    arch: str
    fp8: str
    engine: str
    digest: str
    """Of the case ids: values of different cases are not compared."""
    cases: int
    not_passed: int
    worst_t: float | None
    """Largest worst-row t."""
    worst_z: float | None
    """Largest |z| of an element."""
    bound_use: float | None
    """Largest ratio of an error to its hard bound."""
    peer_rms_z: float | None
    """rms z of the torch peer where it is furthest from 1."""
    seconds: float
    """All cases together."""
    median_seconds: float
    """Of a case."""


@dataclass(frozen=True, slots=True)
class KernelCounts:
    """What the machine code of these kernels cost, summed over the cases of one op that launch exactly them."""

    op: str
    arch: str
    fp8: str
    engine: str
    kernels: str
    """Names joined by ` + `, in the order of the launches."""
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Took:
    """What a case, or a drill, took."""

    engine: str
    provider: str
    fault: str
    """Empty for a healthy case."""
    case_id: str
    microseconds: int


def kernel_run_of(assay: Assay) -> KernelRun:
    """The run that a results file holds. Raises HistoryError for one that is not whole: a trend would mislead."""
    header, last = require_whole(assay), assay.ends[-1]
    reasons = replace(assay, evaluations={}).red_reasons()
    return KernelRun(
        run_id=header.run_id,
        started=header.started,
        finished=last.finished,
        seconds=last.seconds,
        tier=header.tier,
        provider=header.provider,
        engine=header.engine,
        device=header.device,
        revision=header.commit,
        command=header.command,
        versions=header.versions,
        status="red" if reasons else "green",
        reasons=tuple(reasons),
        cases=len(assay.cases),
        not_passed=sum(record.status is not Status.PASSED for record in assay.cases),
        drills=len(assay.drills),
    )


def require_whole(assay: Assay) -> RunHeader:
    """The header of a whole run that came to its end; HistoryError says what else the file holds."""
    if not assay.headers or not assay.cases:
        raise HistoryError(f"{assay.path} holds no run of healthy cases; `rocassay run` makes one")
    header = assay.headers[0]
    if header.shard is not None:
        raise HistoryError(
            f"{assay.path} holds {header.shard} only; join all with `rocassay report merge` and add the whole"
        )
    if not assay.ended:
        raise HistoryError(
            f"run {header.run_id} in {assay.path} did not come to its end; finish it with `rocassay run --resume` first"
        )
    return header


def series_of(records: Sequence[CaseRecord]) -> list[Series]:
    """One entry an op, architecture, flavour and engine, in that order; drills are left out."""
    return [_series(key, group) for key, group in _grouped(records, _place)]


def _series(key: tuple[str, ...], records: Sequence[CaseRecord]) -> Series:
    found = measured(records)
    return Series(
        *key,
        digest=_digest(record.case for record in records),
        cases=found.cases,
        not_passed=found.not_passed,
        worst_t=found.worst_t,
        worst_z=found.worst_z,
        bound_use=found.bound_use,
        peer_rms_z=found.peer_rms_z,
        seconds=found.seconds,
        median_seconds=found.median_seconds,
    )


def counts_of(records: Sequence[CaseRecord]) -> list[KernelCounts]:
    """What the kernels cost, of records that count machine code."""
    counted = [record for record in records if SIGN_OF_COUNTS in record.counts]
    found = _grouped(counted, lambda record: (*_place(record), " + ".join(dict.fromkeys(record.launches))[:LONGEST]))
    return [KernelCounts(*key, counts=_sum(group)) for key, group in found]


def _sum(records: Sequence[CaseRecord]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for record in records:
        total.update({name: record.counts.get(name, 0) for name in COSTS})
    return {name: total[name] for name in COSTS if total[name]}


def durations_of(records: Sequence[CaseRecord]) -> list[Took]:
    """What each case and drill that ran took; those that never came to run say nothing about it."""
    return [
        Took(record.engine, record.provider, record.fault or "", record.case, round(1e6 * seconds_of(record)))
        for record in records
        if record.timings
    ]


def _place(record: CaseRecord) -> tuple[str, ...]:
    return (record.op, record.arch, record.fp8, record.engine)


def _grouped(
    records: Sequence[CaseRecord], key: Callable[[CaseRecord], tuple[str, ...]]
) -> list[tuple[tuple[str, ...], list[CaseRecord]]]:
    groups: dict[tuple[str, ...], list[CaseRecord]] = {}
    for record in records:
        if record.fault is None:
            groups.setdefault(key(record), []).append(record)
    return sorted(groups.items())


def _digest(cases: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(cases)).encode()).hexdigest()[:12]
