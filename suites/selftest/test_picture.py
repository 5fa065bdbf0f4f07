"""Pictures of failed outputs: pages undone, tiles kept, small, and drawn of failures only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from rocassay.harness.cases import Case
from rocassay.harness.gates import ExactBytes, Whitened
from rocassay.harness.inputs import Operands
from rocassay.harness.layouts import Layout, normal, shuffle
from rocassay.harness.picture import COLUMNS, CONTEXT, ROWS, picture_of
from rocassay.harness.results import Coordinate, Picture
from rocassay.suites.selftest.toys import toy_case, toy_op

NOTHING = Operands(inputs={}, outputs={})


def spread(line: str) -> str:
    """The signs of a row, without repetition counts."""
    return re.sub(r"(\d+)(\D)", lambda run: run[2] * int(run[1]), line)


def named(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    names = ("token", "head", "dim")[: len(index) - 1]
    return Coordinate(output=output, index=index, where=dict(zip((*names, "dim"), index, strict=True)))


def picture(expectation: Any, actual: torch.Tensor, layout: Layout | None = None, **changes: Any) -> Picture | None:
    op = toy_op(**{"locate": named, "layout": (lambda _: layout) if layout else None, **changes})
    gates = expectation.judge("out", actual)
    expected: Mapping[str, object] = {"out": expectation}
    case = toy_case(block_size=layout.block_size if layout else 1)
    return picture_of(op, case, NOTHING, expected, {"out": actual}, gates)


def whitened(shape: tuple[int, ...], **changes: Any) -> Whitened:
    one = torch.ones(shape, dtype=torch.float64)
    return Whitened(**{"golden": 0 * one, "sigma": one, "bound": 10 * one, "visible": one > 0, **changes})


def cache_of(layout: Layout, records: np.ndarray) -> torch.Tensor:
    pages = np.zeros((len(records) // layout.block_size, layout.page_bytes), dtype=np.uint8)
    layout.pack(records, np.arange(len(records)), pages)
    return torch.from_numpy(pages).reshape(-1, layout.block_size, layout.token_bytes)


def test_a_passed_output_has_no_picture():
    assert picture(whitened((4, 64)), torch.zeros(4, 64)) is None


def test_a_wrong_token_of_a_tiled_cache_is_one_row_whatever_the_page_makes_of_it():
    records = np.arange(32 * 132, dtype=np.int64).reshape(32, 132).astype(np.uint8)
    wrong = records.copy()
    wrong[21, :128] ^= 0xFF
    expected, actual = (cache_of(shuffle(16), rows) for rows in (records, wrong))
    drawn = picture(ExactBytes(expected), actual, shuffle(16))
    assert drawn
    assert (drawn.rows.name, drawn.rows.group, drawn.rows.tile, drawn.columns.tile) == ("token", 16, 16, 16)
    rows = [spread(line) for line in drawn.cells]
    assert rows.pop(21 - drawn.rows.start) == 32 * "d" + "."
    assert {*"".join(rows)} == {"."}


def test_a_cache_written_in_the_other_layout_is_striped_not_one_row():
    records = np.random.default_rng(0).integers(0, 256, (16, 132), dtype=np.uint8)
    drawn = picture(ExactBytes(cache_of(normal(16), records)), cache_of(shuffle(16), records), normal(16))
    assert drawn
    rows = [spread(line) for line in drawn.cells]
    assert rows[0][:4] == "...."
    assert rows[0][4:32] == 28 * "d"
    assert all(row[-1] == "." for row in rows)


def test_levels_tell_errors_within_the_limit_from_those_beyond_and_from_infinite_ones():
    actual = torch.zeros(4, 64)
    actual[0, :4] = torch.tensor([1.0, 6.0, 20.0, float("nan")])
    visible = torch.ones(4, 64, dtype=torch.bool)
    visible[3] = False
    drawn = picture(whitened((4, 64), visible=visible), actual)
    assert drawn
    assert spread(drawn.cells[0])[:6] == "abc!.."
    assert drawn.cells[3] == "64-"
    assert (drawn.worst, drawn.worst_cell) == (None, (0, 3))


def test_a_cell_shows_its_worst_element_and_the_axes_tell_what_it_covers():
    actual = torch.zeros(300, 4, 576)
    actual[7, 2, 131] = 50.0
    actual[290, 0, 0] = 500.0
    drawn = picture(whitened((300, 4, 576)), actual)
    assert drawn
    rows, columns = drawn.rows, drawn.columns
    assert (rows.name, rows.extent, rows.group, rows.group_name) == ("token × head", 1200, 4, "token")
    assert (columns.name, columns.step) == ("dim", 16)
    cells = [spread(line) for line in drawn.cells]
    assert cells[(7 * 4 + 2 - rows.start) // rows.step][131 // 16] == "c"
    assert drawn.worst == pytest.approx(500 / 7.1)
    assert drawn.worst_cell == ((290 * 4 - rows.start) // rows.step, 0)


@pytest.mark.parametrize("shape", [(1, 1), (5,), (3, 7), (100_000, 2), (2, 100_000), (9, 9, 9, 130)])
def test_no_picture_is_larger_than_a_few_thousand_characters_or_leaves_a_wrong_element_out(shape: tuple[int, ...]):
    actual = torch.from_numpy(np.random.default_rng(1).choice([0.0, 5.0, 90.0], shape))
    actual.reshape(-1)[[0, -1]] = 90.0
    drawn = picture(whitened(shape), actual, locate=lambda _case, _operands, n, i: Coordinate(output=n, index=i))
    assert drawn
    assert len(drawn.cells) <= ROWS
    assert {len(spread(line)) for line in drawn.cells} == {len(spread(drawn.cells[0]))}
    assert len(spread(drawn.cells[0])) <= COLUMNS
    assert len(drawn.model_dump_json()) < 5000
    for axis, cells in ((drawn.rows, len(drawn.cells)), (drawn.columns, len(spread(drawn.cells[0])))):
        assert (axis.start, axis.start + cells * axis.step >= axis.extent) == (0, True)


def test_only_the_rows_around_what_is_wrong_are_shown():
    actual = torch.zeros(5000, 64)
    actual[4000, 3] = 99.0
    drawn = picture(whitened((5000, 64)), actual)
    assert drawn
    assert (drawn.rows.step, len(drawn.cells)) == (1, CONTEXT)
    assert spread(drawn.cells[4000 - drawn.rows.start])[3] == "d"


def test_a_case_record_carries_the_picture_through_its_line():
    actual = torch.zeros(2, 64)
    actual[1, 1] = float("inf")
    drawn = picture(whitened((2, 64)), actual)
    assert drawn
    assert Picture.model_validate_json(drawn.model_dump_json()) == drawn
