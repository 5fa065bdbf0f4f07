"""A recorded picture as a drawing: cells by level, boundaries of pages and tiles, and the worst cell in words."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rocassay.harness.results import Axis, CaseRecord, Coordinate, Picture
from rocassay.reports.html.words import number

WIDEST, TALLEST = 640, 300
"""Most units of the cells' area; a cell is at most LARGEST units wide and high."""

LARGEST = 18

LEFT, TOP, RIGHT, BOTTOM = 58, 30, 10, 6
"""Room for numbers and names round the cells."""

MOST_TICKS = 12

_RUN = re.compile(r"(\d*)(\D)")


@dataclass(frozen=True, slots=True)
class Level:
    """Cells of one level."""

    shade: str
    """CSS class: `ok1` up to the limit, `bad1` and on beyond it, `inf`, `none` where nothing is judged."""
    words: str
    """What the level means, for the legend and as a tooltip."""
    path: str
    """Horizontal strokes in cell units; empty where no cell has the level."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A number on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Heat:
    """Everything that the template draws, in units of the drawing."""

    title: str
    """Output and measure."""
    rows: str
    columns: str
    """Names of the axes with what a cell covers."""
    levels: tuple[Level, ...]
    cells: tuple[int, int]
    """Down and across."""
    cell: tuple[float, float]
    """Height and width of one."""
    size: tuple[float, float]
    """Height and width of all of it."""
    row_ticks: tuple[Tick, ...]
    column_ticks: tuple[Tick, ...]
    groups: tuple[str, str]
    """Paths of boundaries of groups between rows and between columns, in cell units."""
    tiles: tuple[str, str]
    """The same for tiles."""
    boundaries: str
    """What the boundaries are, in words; empty without one."""
    worst: str
    """The worst cell in words."""
    worst_cell: tuple[int, int]
    label: str
    """The whole picture as a sentence."""


def spread(line: str) -> str:
    """A row of cells without repetition counts."""
    return "".join(sign * int(count or 1) for count, sign in _RUN.findall(line))


def heat(picture: Picture) -> Heat:
    """The drawing of a picture."""
    lines = [spread(line) for line in picture.cells]
    down, across = len(lines), len(lines[0]) if lines else 0
    width = min(LARGEST, max(1.0, math.floor(4 * WIDEST / max(1, across)) / 4))
    height = min(LARGEST, max(4.0, math.floor(4 * TALLEST / max(1, down)) / 4))
    worst = _worst(picture)
    groups = (_across(picture.rows, down, across, "group"), _down(picture.columns, down, across, "group"))
    tiles = (_across(picture.rows, down, across, "tile"), _down(picture.columns, down, across, "tile"))
    return Heat(
        title=f"{picture.output}: {picture.measure}",
        rows=_axis(picture.rows),
        columns=_axis(picture.columns),
        levels=tuple(_levels(picture, lines)),
        cells=(down, across),
        cell=(height, width),
        size=(TOP + down * height + BOTTOM, LEFT + across * width + RIGHT),
        row_ticks=tuple(_ticks(picture.rows, down, height)),
        column_ticks=tuple(_ticks(picture.columns, across, width)),
        groups=groups,
        tiles=tiles,
        boundaries=_boundaries(picture, groups, tiles),
        worst=worst,
        worst_cell=picture.worst_cell,
        label=f"{picture.output} by {picture.rows.name} and {picture.columns.name}, {picture.measure}; {worst}",
    )


def _levels(picture: Picture, lines: Sequence[str]) -> Iterator[Level]:
    """Every level up to the worst one that occurs, and the two that stand apart where they occur."""
    shares = picture.limit == 0
    lower: float = 0.0
    deepest = max((sign for line in lines for sign in line if sign.isalpha()), default="")
    worse = 0
    for place, upper in enumerate([*picture.levels, math.inf]):
        sign = chr(ord("a") + place)
        worse += lower >= picture.limit
        shade = f"bad{worse}" if lower >= picture.limit else f"ok{place + 1}"
        if sign <= deepest:
            yield Level(shade, _span(lower, upper, shares=shares), _strokes(lines, sign))
        lower = upper
    for sign, shade, words in (("!", "inf", "no finite value"), ("-", "none", "nothing judged")):
        if path := _strokes(lines, sign):
            yield Level(shade, words, path)


def _span(lower: float, upper: float, *, shares: bool) -> str:
    if shares:
        return f"{100 * lower:g} to {100 * min(upper, 1):g} %"
    if math.isinf(upper):
        return f"over {number(lower)}"
    return f"{number(lower)} to {number(upper)}"


def _strokes(lines: Sequence[str], sign: str) -> str:
    """One stroke for each run of a sign, from left to right in the middle of its row."""
    parts: list[str] = []
    for row, line in enumerate(lines):
        column = 0
        for found, run in itertools.groupby(line):
            length = len(list(run))
            parts += [f"M{column} {row}.5h{length}"] if found == sign else []
            column += length
    return "".join(parts)


def _places(axis: Axis, cells: int, kind: str) -> list[float]:
    """Boundaries inside the shown part, in cells; none where they would lie too close to be told apart."""
    every = axis.group if kind == "group" else axis.tile
    if not every or every < axis.step or (every == axis.step and cells > 20) or (every == 1):
        return []
    first = axis.start // every + 1
    stop = axis.start + cells * axis.step
    return [round((n * every - axis.start) / axis.step, 3) for n in range(first, -(-stop // every))]


def _across(axis: Axis, down: int, across: int, kind: str) -> str:
    return "".join(f"M0 {place:g}h{across}" for place in _places(axis, down, kind))


def _down(axis: Axis, down: int, across: int, kind: str) -> str:
    return "".join(f"M{place:g} 0v{down}" for place in _places(axis, across, kind))


def _boundaries(picture: Picture, groups: tuple[str, str], tiles: tuple[str, str]) -> str:
    said = [
        f"line: {axis.group_name} of {axis.group}"
        for axis, path in zip((picture.rows, picture.columns), groups, strict=True)
        if path
    ]
    said += [f"dots: tile of {picture.rows.tile or picture.columns.tile}"] if any(tiles) else []
    return "; ".join(said)


def _axis(axis: Axis) -> str:
    of = f" of {axis.extent:,}"
    cell = f", {axis.step} a cell" if axis.step > 1 else ""
    return f"{axis.name}{of}{cell}"


def _ticks(axis: Axis, cells: int, unit: float) -> Iterator[Tick]:
    """Numbers at round elements, at most MOST_TICKS, and not so close that they touch."""
    shown = cells * axis.step
    room = max(1, min(MOST_TICKS, int(cells * unit // 24)))
    every = axis.step
    while shown / every > room:
        every *= 2
    for element in range(-(-axis.start // every) * every, min(axis.extent, axis.start + shown), every):
        yield Tick(round((element - axis.start + min(axis.step, 1) / 2) / axis.step * unit, 2), str(element))


def _covered(axis: Axis, cell: int) -> str:
    first = axis.start + cell * axis.step
    last = min(axis.extent, first + axis.step) - 1
    name = axis.name if "×" in axis.name or first == last else f"{axis.name}s"
    return f"{name} {first}" if first == last else f"{name} {first} to {last}"


def _worst(picture: Picture) -> str:
    row, column = picture.worst_cell
    if picture.worst is None:
        value = "no finite value"
    elif picture.limit == 0:
        value = f"{100 * picture.worst:.0f} % of its bytes differ"
    else:
        value = f"{number(picture.worst)} times the limit"
    return f"worst cell: {_covered(picture.rows, row)}, {_covered(picture.columns, column)}: {value}"


def storage_words(record: CaseRecord) -> str:
    """Where a record is first wrong: token, head, page and tile as far as they are known; empty without a place."""
    place = record.first_wrong
    return "" if place is None else _in_words(place, record.picture)


def _in_words(place: Coordinate, picture: Picture | None) -> str:
    named = {"page": place.block, "token": place.token, "byte": place.byte, "page offset": place.offset, **place.where}
    said = [f"{name} {value}" for name, value in named.items() if value is not None]
    tile = picture.rows.tile if picture and picture.output == place.output else 0
    if tile and place.token is not None and place.byte is not None:
        said.append(f"tile {place.token // tile}, {place.byte // tile} (of {tile} tokens × {tile} bytes)")
    return " · ".join(said)
