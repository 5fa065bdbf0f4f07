"""The picture of a failed output: where it is wrong, small enough to stand in a record.

A layout mistake is a pattern, and a pattern is seen where a number is not: cells are aligned to pages and tiles, and
a cache is drawn by token and byte of the record, whatever order its pages keep them in.
"""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch

from rocassay.harness.cases import Case
from rocassay.harness.gates.verdict import Deviation, Verdict
from rocassay.harness.inputs import Operands
from rocassay.harness.layouts import TILE, Layout
from rocassay.harness.ops import Op
from rocassay.harness.results import Axis, Coordinate, Picture

ROWS, COLUMNS = 48, 64
"""Most cells of a picture."""

CONTEXT = 16
"""Least elements of an axis that are shown where there are as many."""

WHOLE_COLUMNS = 1024
"""Longest axis from left to right that is shown whole: a record or a head, not a row of scores."""

_ROW_NAMES = ("token", "query", "row", "request", "work", "worker", "group")
_MIDDLE_NAMES = ("head", "position", "row")
_COLUMN_NAMES = ("dim", "byte", "position", "key", "column", "slot", "head", "token", "entry", "field")


@runtime_checkable
class Deviating(Protocol):
    """An expectation that tells how wrong each element is."""

    def deviation(self, actual: torch.Tensor) -> Deviation:
        """How wrong each element of the output is."""
        ...


@dataclass(frozen=True, slots=True)
class _Plane:
    """A deviation as rows and columns, before cells are made of it."""

    values: torch.Tensor
    judged: torch.Tensor
    rows: Axis
    columns: Axis


def picture_of(
    op: Op, case: Case, operands: Operands, expectations: Mapping[str, object], outputs: Mapping[str, torch.Tensor],
    gates: Sequence[Verdict],
) -> Picture | None:  # fmt: skip
    """Picture of the output that the first failed gate names; None when all hold or no picture tells more."""
    failed = next((gate for gate in gates if not gate.passed and gate.index is not None), None)
    if failed is None or failed.output is None or failed.index is None:
        return None
    expectation = expectations[failed.output]
    if not isinstance(expectation, Deviating):
        return None
    seen = expectation.deviation(outputs[failed.output])
    if not seen.values.numel():
        return None
    layout, shape = op.layout(case) if op.layout else None, outputs[failed.output].shape
    if layout and _holds(layout, seen, shape):
        plane = _by_token(seen, layout)
    else:
        corners = (failed.index, tuple(extent - 1 for extent in shape))
        plane = _by_index(seen, shape, case, [op.locate(case, operands, failed.output, index) for index in corners])
    return _drawn(failed.output, seen, plane)


def _holds(layout: Layout, seen: Deviation, shape: Sequence[int]) -> bool:
    """Whether the output is a cache of these pages, judged by bytes."""
    return len(shape) == 3 and tuple(seen.values.shape[1:]) == (layout.block_size, layout.token_bytes)


def _by_token(seen: Deviation, layout: Layout) -> _Plane:
    """Pages in a row, each token's record in the order of its bytes."""
    tokens, record = torch.arange(layout.block_size).numpy()[:, None], torch.arange(layout.token_bytes).numpy()
    places = torch.from_numpy(layout.offset(tokens, record))
    values, judged = (t.flatten(1)[:, places].flatten(0, 1) for t in (seen.values, seen.judged))
    tile = TILE if layout.tiled else 0
    rows = Axis(name="token", extent=len(values), group=layout.block_size, group_name="page", tile=tile)
    return _Plane(values, judged, rows, Axis(name="byte", extent=layout.token_bytes, tile=tile))


def _by_index(seen: Deviation, shape: Sequence[int], case: Case, places: Sequence[Coordinate]) -> _Plane:
    """The last dimension from left to right, all others from top to bottom."""
    values, judged = seen.values, seen.judged
    if values.dim() == 1:
        values, judged = values[None], judged[None]
    extents = tuple(values.shape[:-1])
    name = _name(places, 0, _ROW_NAMES) if seen.values.dim() > 1 else "output"
    middle = [_name(places, dimension, _MIDDLE_NAMES) for dimension in range(1, len(extents))]
    group = math.prod(extents[1:]) if len(extents) > 1 else 0
    rows = Axis(
        name=" × ".join([name, *middle]), extent=math.prod(extents), group=group, group_name=name if group else ""
    )
    columns = _columns(values.shape[-1], shape[-1], case, places)
    return _Plane(values.flatten(0, -2), judged.flatten(0, -2), rows, columns)


def _columns(extent: int, elements: int, case: Case, places: Sequence[Coordinate]) -> Axis:
    """Bytes where an element has several; keys carry the boundaries of their pages."""
    name = _name(places, -1, _COLUMN_NAMES) if extent == elements else "byte"
    paged = name in ("position", "key") and places[0].block is not None
    axis = Axis(name="key" if name == "position" else name, extent=extent)
    paged = paged and case.block_size > 1
    return axis.model_copy(update={"group": case.block_size, "group_name": "page"}) if paged else axis


def _name(places: Sequence[Coordinate], dimension: int, names: Sequence[str]) -> str:
    """Name that a coordinate gives to its index in that dimension, and that no other coordinate contradicts."""
    for name in names:
        said = [place.byte if name == "byte" else place.where.get(name) for place in places]
        known = [n for n, value in enumerate(said) if value is not None]
        if known and all(said[n] == places[n].index[dimension] for n in known):
            return name
    return "column" if dimension == -1 else "row"


def _drawn(output: str, seen: Deviation, plane: _Plane) -> Picture:
    wrong = (plane.values > seen.limit) & plane.judged
    rows, height = _shown(plane.rows, wrong.any(dim=1), ROWS, whole=False)
    columns, width = _shown(plane.columns, wrong.any(dim=0), COLUMNS, whole=plane.columns.extent <= WHOLE_COLUMNS)
    part = (slice(rows.start, rows.start + height), slice(columns.start, columns.start + width))
    values = torch.where(plane.judged[part], plane.values[part], -1.0)
    cells = _cells(values, rows.step, columns.step, shares=seen.shares)
    lines = cast("list[list[float]]", cells.tolist())
    worst = torch.nan_to_num(cells, nan=-1.0, posinf=math.inf).flatten()
    place = divmod(int(worst.argmax()), cells.shape[1])
    value = float(worst.max())
    return Picture(
        output=output,
        measure=seen.measure,
        rows=rows,
        columns=columns,
        levels=seen.levels,
        limit=seen.limit,
        cells=tuple(_run_lengths(_sign(value, seen.levels) for value in line) for line in lines),
        worst=value if math.isfinite(value) else None,
        worst_cell=place,
    )


def _shown(axis: Axis, wrong: torch.Tensor, most: int, *, whole: bool) -> tuple[Axis, int]:
    """The axis from the first to the last wrong element with some context, and how many elements that is."""
    places = wrong.nonzero()
    first, last = (int(places[0]), int(places[-1])) if len(places) and not whole else (0, axis.extent - 1)
    spare = max(0, CONTEXT - (last + 1 - first))
    start = first = max(0, min(first - spare // 2, axis.extent - CONTEXT))
    last = min(max(last, first + CONTEXT - 1), axis.extent - 1)
    step = 1
    while -(-(last + 1 - start) // step) > most:
        step *= 2
        start = first // step * step
    return axis.model_copy(update={"start": start, "step": step}), last + 1 - start


def _cells(values: torch.Tensor, down: int, across: int, *, shares: bool) -> torch.Tensor:
    """float64, one for each block of down x across values: the mean or the largest; NaN where all are negative."""
    high, wide = -(-values.shape[0] // down), -(-values.shape[1] // across)
    room = torch.full((high * down, wide * across), -1.0, dtype=torch.float64)
    room[: values.shape[0], : values.shape[1]] = values
    blocks = room.reshape(high, down, wide, across).transpose(1, 2).flatten(2)
    count = (blocks >= 0).sum(dim=-1)
    value = blocks.clamp(min=0).sum(dim=-1) / count if shares else blocks.amax(dim=-1)
    return torch.where(count > 0, value, math.nan)


def _sign(value: float, levels: Sequence[float]) -> str:
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "!"
    return "." if value == 0 else chr(ord("a") + bisect_left(levels, value))


def _run_lengths(signs: Iterable[str]) -> str:
    runs = ((sign, len(list(same))) for sign, same in itertools.groupby(signs))
    return "".join(sign if count == 1 else f"{count}{sign}" for sign, count in runs)
