"""The two grids of the page: error map (op x arch, flavour, block size) and safety matrix (op x check)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rocassay.harness.results import Assay, CaseRecord, Cell, Status
from rocassay.reports.html.measures import BROKEN, DOUBTFUL, SEVERITY, failed_checks, worst_use
from rocassay.reports.html.words import counted, plain

Axes = tuple[str, str, str, int]
"""op, arch, FP8 flavour, block size."""


@dataclass(frozen=True, slots=True)
class MapCell:
    """One (op, arch, flavour, block size)."""

    state: str
    """`passed`, `failed`, `doubtful`, `not run`, or `empty` where nothing was expected."""
    usage: str = ""
    """Worst use of a limit, `exact`, `differs`, or a dash when nothing was judged."""
    heat: int = 0
    """Percent of the limit in use, 0 to 100, for the tint."""
    counts: tuple[tuple[Status, int], ...] = ()
    label: str = ""
    """The cell as one sentence, for titles and screen readers."""
    query: str = ""
    """Filter of the case table that selects these cases."""


@dataclass(frozen=True, slots=True)
class OpMap:
    """Error map of one op: one row per arch and flavour, one column per block size."""

    op: str
    block_sizes: tuple[int, ...]
    rows: tuple[tuple[str, str, tuple[MapCell, ...]], ...]

    @property
    def calm(self) -> bool:
        """Whether nothing in it needs to be looked at."""
        return all(cell.state in ("passed", "empty") for _, _, cells in self.rows for cell in cells)


@dataclass(frozen=True, slots=True)
class SafetyCell:
    """What one check said over all cases of one op."""

    state: str
    """`passed`, `failed` or `not run`."""
    held: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True)
class Safety:
    """Ops against check names, probes before gates."""

    probes: tuple[str, ...]
    gates: tuple[str, ...]
    rows: tuple[tuple[str, tuple[SafetyCell, ...]], ...]


def error_map(assay: Assay) -> list[OpMap]:
    """One grid per op, in order of appearance; only cells that were expected or have a record are filled."""
    records: dict[Axes, list[CaseRecord]] = {}
    for record in assay.cases:
        records.setdefault((record.op, record.arch, record.fp8, record.block_size), []).append(record)
    missing: dict[Axes, list[Cell]] = {}
    for cell in assay.missing_cells():
        missing.setdefault((cell.op, cell.arch, cell.fp8, cell.block_size), []).append(cell)
    axes = list(dict.fromkeys([*records, *missing]))
    return [_op_map([a for a in axes if a[0] == op], records, missing) for op in dict.fromkeys(a[0] for a in axes)]


def _op_map(axes: Sequence[Axes], records: dict[Axes, list[CaseRecord]], missing: dict[Axes, list[Cell]]) -> OpMap:
    op = axes[0][0]
    block_sizes = tuple(sorted({block_size for *_, block_size in axes}))
    rows = [
        (
            arch,
            fp8,
            tuple(_map_cell(a, records.get(a, []), missing.get(a, [])) for a in _across(op, arch, fp8, block_sizes)),
        )
        for arch, fp8 in sorted({(arch, fp8) for _, arch, fp8, _ in axes})
    ]
    return OpMap(op, block_sizes, tuple(rows))


def _across(op: str, arch: str, fp8: str, block_sizes: Sequence[int]) -> list[Axes]:
    return [(op, arch, fp8, block_size) for block_size in block_sizes]


def _map_cell(axes: Axes, records: Sequence[CaseRecord], missing: Sequence[Cell]) -> MapCell:
    if not records and not missing:
        return MapCell("empty")
    op, arch, fp8, block_size = axes
    counts = [(status, count) for status in SEVERITY if (count := sum(r.status is status for r in records))]
    use = worst_use(records)
    state = _state([status for status, _ in counts], bool(missing))
    said = [f"{count} {status.value}" for status, count in counts]
    said += [f"worst use of a limit {use.word} ({use.check})"] if use.share is not None else []
    said += [f"{name} failed in {count}" for name, count in failed_checks(records).items()]
    said += [f"expected on engine {cell.engine} and not run" for cell in missing]
    label = f"{op}, {arch}, {fp8}, block size {block_size}: {', '.join(said)}"
    heat = round(100 * min(1.0, max(0.0, use.share or 0.0)))
    return MapCell(state, use.word, heat, tuple(counts), label, plain(f"^{op}:{arch}:{fp8}:bs{block_size}:"))


def _state(statuses: Sequence[Status], missing: bool) -> str:
    if BROKEN.intersection(statuses):
        return "failed"
    if missing or set(statuses) == {Status.NOT_RUN}:
        return "not run"
    return "doubtful" if DOUBTFUL.intersection(statuses) else "passed"


def safety(assay: Assay) -> Safety:
    """Every check of every op: how often it held; `not run` where an op has none of that name that applies."""
    seen: dict[tuple[str, str], list[bool]] = {}
    kinds: dict[str, str] = {}
    for record in assay.cases:
        for check in record.checks:
            held = seen.setdefault((record.op, check.name), [])
            held += [check.passed] if check.applicable else []
            kinds.setdefault(check.name, check.kind)
    probes = tuple(name for name, kind in kinds.items() if kind == "probe")
    gates = tuple(name for name, kind in kinds.items() if kind == "gate")
    ops = dict.fromkeys(record.op for record in assay.cases)
    rows = tuple((op, tuple(_safety_cell(seen.get((op, name), [])) for name in (*probes, *gates))) for op in ops)
    return Safety(probes, gates, rows)


def _safety_cell(held: Sequence[bool]) -> SafetyCell:
    if not held:
        return SafetyCell("not run")
    return SafetyCell("passed" if all(held) else "failed", sum(held), len(held))


def covered_cells(assay: Assay) -> str:
    """`212 cells`: cells of the expected-to-run matrix."""
    expected = dict.fromkeys(cell for header in assay.headers for cell in header.expected)
    return counted(len(expected), "cell")
