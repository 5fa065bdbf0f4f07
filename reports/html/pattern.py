"""What the red cases have in common: the axis that separates them from the green ones of the same ops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rocassay.harness.results import Assay, CaseRecord
from rocassay.reports.html.measures import BROKEN
from rocassay.reports.html.words import counted

NAMED = 3
"""Most values of an axis, or ops, that a sentence names."""

TELLING = 0.2
"""Share of red cases among those with the values, from which the axis explains anything."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the cases, split by whether a red case has the value."""

    name: str
    values: tuple[str, ...]
    """Values of red cases."""
    red: int
    of: int
    """Cases with these values, of which `red` are red."""
    others: int
    """Cases of the same ops with other values; none of them is red."""

    @property
    def sharpness(self) -> tuple[float, int, int]:
        """How well the axis separates; among equals the one with fewer values, and that leaves more cases green."""
        return (self.red / self.of, -len(self.values), self.others)


def in_common(assay: Assay) -> str:
    """One sentence on where the red cases lie; empty when fewer than two cases are red."""
    red = [record for record in assay.cases if record.status in BROKEN]
    if len(red) < 2:
        return ""
    ops = dict.fromkeys(record.op for record in red)
    near = [record for record in assay.cases if record.op in ops]
    names = f"{', '.join(list(ops)[:NAMED])}{f' and {len(ops) - NAMED} more' if len(ops) > NAMED else ''}"
    axes = sorted(_splitting(red, near), key=lambda axis: axis.sharpness, reverse=True)
    said = f"The red cases are of {counted(len(ops), 'op')} ({names})"
    if len(red) == len(near):
        return f"{said}, and every case of them is red."
    if not axes:
        return f"{said}; no single axis separates them from the green ones."
    best = axes[0]
    every = best.red == best.of
    share = "every one of these cases is" if every else f"{best.red:,} of these {best.of:,} cases are"
    where = f"{best.name} {' and '.join(best.values)}"
    return f"{said}, all at {where}: {share} red, none of the {best.others:,} others."


def _splitting(red: Sequence[CaseRecord], near: Sequence[CaseRecord]) -> Iterator[Axis]:
    """Axes on which some value has no red case."""
    mine, all_ = [_axes(record) for record in red], [_axes(record) for record in near]
    for name in dict.fromkeys(name for axes in all_ for name in axes):
        hit = dict.fromkeys(axes.get(name, "none") for axes in mine)
        inside = sum(axes.get(name, "none") in hit for axes in all_)
        if inside < len(near) and len(hit) <= NAMED and len(red) >= TELLING * inside:
            yield Axis(name, tuple(hit), len(red), inside, len(near) - inside)


def _axes(record: CaseRecord) -> dict[str, str]:
    own = {"block size": str(record.block_size), "arch": record.arch, "flavour": record.fp8, "recipe": record.recipe}
    return {**own, "engine": record.engine, **{name: str(value) for name, value in record.params.items()}}
