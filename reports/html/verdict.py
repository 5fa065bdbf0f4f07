"""The head of the page: the verdict in words, what ran where, the first failure, what did not run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rocassay.harness.results import Assay, CaseRecord, Cell, Status, summary
from rocassay.reports.html.evaluations import CUT_SHORT, Row, healthy
from rocassay.reports.html.measures import SEVERITY
from rocassay.reports.html.words import counted, duration, joined, shortened

LONGEST_REASON = 600
"""Most characters of a reason at the head of the page."""

MOST_REASONS = 20
"""Reasons that the head of the page lists."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """PASS or FAIL, with everything needed to believe it."""

    word: str
    sentence: str
    reasons: tuple[str, ...]
    """All reasons when there are several; a single one is the sentence."""
    counts: tuple[tuple[Status, int], ...]
    """Cases without an injected fault, worst status first."""
    drills: tuple[int, int]
    """Drill cases that went red, as wanted, of all."""
    facts: tuple[tuple[str, str], ...]
    """Label and value: tier, provider, engine, device, versions, commit, wall time."""
    first: CaseRecord | None
    """First case that is not as wanted; its repro stands beside the verdict."""
    evaluations: tuple[int, int]
    """Healthy evaluations that are green, of all."""
    ill: Row | None
    """First healthy evaluation that is not green."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Expected cells of one op, arch, flavour and engine that did not run for the same reason."""

    op: str
    arch: str
    fp8: str
    engine: str
    block_sizes: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True)
class NotRun:
    """`not run` records with one reason."""

    reason: str
    count: int
    ops: str
    arches: str
    example: str


def verdict(assay: Assay) -> Verdict:
    """The verdict; red exactly if `Assay.red_reasons` says so."""
    reasons = tuple(shortened(reason, LONGEST_REASON) for reason in assay.red_reasons())
    sound = healthy(assay)
    ill = [row for row in sound if row.status != "green"]
    counts = summary(assay.cases)
    ordered = tuple((status, counts[status]) for status in SEVERITY if status in counts)
    drills = summary(assay.drills)
    return Verdict(
        "FAIL" if reasons else "PASS",
        _red_sentence(reasons, ill, len(sound)) if reasons else _green_sentence(assay),
        _told(reasons) if len(reasons) > 1 else (),
        ordered,
        (drills.get(Status.FAILED, 0), sum(drills.values())),
        _facts(assay),
        _first_red(assay),
        (len(sound) - len(ill), len(sound)),
        ill[0] if ill else None,
    )


def _told(reasons: tuple[str, ...]) -> tuple[str, ...]:
    """The first of them; a torn file has one for each of its lines."""
    rest = len(reasons) - MOST_REASONS
    return (*reasons[:MOST_REASONS], f"and {counted(rest, 'further reason')}") if rest > 0 else reasons


def _green_sentence(assay: Assay) -> str:
    counts, sound = summary(assay.cases), healthy(assay)
    known, said = counts.get(Status.KNOWN, 0), list[str]()
    if assay.cases or not assay.evaluations:
        said.append(f"{counted(counts.get(Status.PASSED, 0), 'case')} passed")
    if known:
        said.append(f"{counted(known, 'known defect')} as recorded")
    if assay.drills:
        said.append(f"{counted(len(assay.drills), 'drill case')} went red as wanted")
    if sound:
        said.append(f"accuracy is green in {counted(len(sound), 'evaluation')}")
    elif assay.evaluations:
        said.append("accuracy was measured with injected faults only")
    return ", ".join(said)


def _red_sentence(reasons: tuple[str, ...], ill: Sequence[Row], of: int) -> str:
    if len(reasons) == 1:
        return reasons[0]
    said = f"for {len(reasons)} reasons"
    states = joined((row.status for row in ill), " or ")
    return f"{said}; accuracy is {states} in {len(ill)} of {counted(of, 'evaluation')}" if ill else said


def _first_red(assay: Assay) -> CaseRecord | None:
    red = assay.red_cases()
    holes = [record for record in assay.drills if record.status is not Status.FAILED]
    worst = min((SEVERITY.index(record.status) for record in red), default=0)
    return next((record for record in red if SEVERITY.index(record.status) == worst), next(iter(holes), None))


def _facts(assay: Assay) -> tuple[tuple[str, str], ...]:
    lines, asked = [*assay.headers, *assay.records], [found.header for found in assay.evaluations.values()]
    every = [*lines, *asked]
    facts = {
        "Tier": joined(line.tier for line in lines),
        "Provider": joined(line.provider for line in every),
        "Engine": joined(line.engine for line in every),
        "Device": joined((line.device for line in every), "; "),
        "Commit": joined(line.commit for line in every),
        "Wall time": wall_time(assay) if lines or not asked else "",
        "Evaluations took": _evaluation_time(assay),
        "Started": joined(header.started for header in assay.headers or asked[:1]),
        "Versions": _versions(line.versions for line in every),
        "Run": joined(line.run_id for line in lines),
        "Command": joined((header.command for header in [*assay.headers, *asked]), "\n"),
    }
    return tuple((label, shortened(value, LONGEST_REASON)) for label, value in facts.items() if value)


def _evaluation_time(assay: Assay) -> str:
    """Seconds of all evaluations that have a verdict."""
    verdicts = [found.verdict for found in assay.evaluations.values()]
    if not verdicts:
        return ""
    spent = duration(sum(verdict.seconds for verdict in verdicts if verdict))
    return spent if all(verdicts) else f"{spent} and some {CUT_SHORT}"


def _versions(each: Iterable[Mapping[str, str]]) -> str:
    found: dict[str, dict[str, None]] = {}
    for versions in each:
        for name, version in versions.items():
            if not version:
                continue
            found.setdefault(name, {})[version] = None
    return " · ".join(f"{name} {' and '.join(versions)}" for name, versions in found.items())


def wall_time(assay: Assay) -> str:
    """Seconds of the recorded ends; says so when a part of the run has none."""
    ends = {end.run_id: end for end in assay.ends}
    if not assay.ends:
        return "the run was cut short"
    spent = duration(sum(end.seconds for end in assay.ends))
    if any(header.run_id not in ends or header.started > ends[header.run_id].finished for header in assay.headers):
        return f"{spent} until the run was cut short"
    if assay.ends[-1].interrupted:
        return f"{spent} until the user stopped it"
    parts = len(assay.headers)
    return spent if parts <= len(assay.ends) else f"{spent} in the last of {parts} parts; earlier parts were cut short"


def gaps(assay: Assay) -> list[Gap]:
    """Missing cells of the expected matrix, block sizes with the same reason together."""
    grouped: dict[tuple[str, str, str, str, str], list[int]] = {}
    told: dict[Cell, list[str]] = {}
    for r in assay.cases:
        cell = Cell(op=r.op, arch=r.arch, fp8=r.fp8, block_size=r.block_size, engine=r.engine)
        told.setdefault(cell, []).append(f"{r.status.value}: {r.reason}" if r.reason else r.status.value)
    for cell in assay.missing_cells():
        why = joined(told.get(cell, ["no record"]), "; ")
        grouped.setdefault((cell.op, cell.arch, cell.fp8, cell.engine, why), []).append(cell.block_size)
    return [
        Gap(op, arch, fp8, engine, tuple(sorted(sizes)), why) for (op, arch, fp8, engine, why), sizes in grouped.items()
    ]


def not_run(assay: Assay) -> list[NotRun]:
    """Cases with status `not run`, grouped by reason, most frequent first."""
    grouped: dict[str, list[CaseRecord]] = {}
    for record in assay.cases:
        if record.status is Status.NOT_RUN:
            grouped.setdefault(record.reason or "no reason was recorded", []).append(record)
    reasons = sorted(grouped.items(), key=lambda item: -len(item[1]))
    return [
        NotRun(why, len(rs), joined(r.op for r in rs), joined(r.arch for r in rs), rs[0].case) for why, rs in reasons
    ]
