"""Parts of the page: what changed, strips, pictures, fault score, trends, what red cases share, the alpha budget."""

from __future__ import annotations

import math
import re
from math import inf
from typing import Any

import pytest

from rocassay.harness.results import Axis, CaseRecord, Check, Coordinate, Picture, Status
from rocassay.reports import html
from rocassay.reports.diff import compare
from rocassay.reports.html.alpha import budget
from rocassay.reports.html.changes import SEVERAL, comparison
from rocassay.reports.html.drills import drill_table
from rocassay.reports.html.heat import heat, spread, storage_words
from rocassay.reports.html.pattern import in_common
from rocassay.reports.html.pictures import MOST_CHARACTERS, pictures
from rocassay.reports.html.rows import EVERYTHING_UP_TO, encode
from rocassay.reports.html.score import fault_score
from rocassay.reports.html.strips import LANE, WIDTH, strips
from rocassay.reports.html.trends import EDGE, HEIGHT, Trend, sparklines
from rocassay.reports.html.trends import WIDTH as SPARK
from rocassay.reports.html.words import LONGEST
from rocassay.suites.reports.runs import case, drill, gate, run
from rocassay.suites.selftest.bigpage import assay as big


def picture(cells: tuple[str, ...] = ("2.2d", "4.", "ab!-"), **changes: Any) -> Picture:
    fields: dict[str, Any] = {
        "output": "kv_cache", "measure": "share of bytes that differ",
        "rows": Axis(name="token", extent=48, start=16, step=8, group=16, group_name="page", tile=16),
        "columns": Axis(name="byte", extent=64, step=16, tile=16), "levels": (0.25, 0.5, 0.75), "limit": 0.0,
        "cells": cells, "worst": None, "worst_cell": (2, 2),
    }  # fmt: skip
    return Picture(**{**fields, **changes})


def z(value: float | None, rms: float = 1.0, *, passed: bool = True) -> Check:
    return gate(value, 7.1, passed=passed).model_copy(update={"metrics": {"rms_z": rms}})


def covered(path: str) -> set[tuple[int, int]]:
    """Cells under the strokes of a level."""
    strokes = re.findall(r"M(\d+) (\d+)\.5h(\d+)", path)
    assert "".join(f"M{x} {y}.5h{n}" for x, y, n in strokes) == path
    return {(int(y), x) for start, y, n in strokes for x in range(int(start), int(start) + int(n))}


def test_the_strokes_of_all_levels_cover_each_wrong_cell_once():
    drawn = heat(picture())
    assert drawn.cells == (3, 4)
    cells = {level.shade: covered(level.path) for level in drawn.levels}
    assert cells["bad4"] == {(0, 2), (0, 3)}
    assert (cells["bad1"], cells["bad2"]) == ({(2, 0)}, {(2, 1)})
    assert (cells["inf"], cells["none"]) == ({(2, 2)}, {(2, 3)})


def test_levels_within_the_limit_look_and_read_otherwise_than_those_beyond():
    drawn = heat(picture(("abcd",), levels=(0.3, 1.0, 10.0), limit=1.0, worst=37.5, worst_cell=(0, 3)))
    assert [(level.shade, level.words) for level in drawn.levels] == [
        ("ok1", "0 to 0.3"), ("ok2", "0.3 to 1"), ("bad1", "1 to 10"), ("bad2", "over 10"),
    ]  # fmt: skip
    assert drawn.worst == "worst cell: tokens 16 to 23, bytes 48 to 63: 37.5 times the limit"


def test_boundaries_of_pages_and_tiles_lie_where_the_layout_has_them():
    drawn = heat(picture())
    assert drawn.groups == ("M0 2h4", "")
    assert drawn.tiles[1] == "M1 0v3M2 0v3M3 0v3"
    assert drawn.boundaries == "line: page of 16; dots: tile of 16"


def test_pages_of_one_token_get_no_lines():
    rows = Axis(name="token", extent=4, group=1, group_name="page")
    assert heat(picture(("4.",) * 3 + ("4d",), rows=rows, worst_cell=(3, 0))).groups == ("", "")


@pytest.mark.parametrize("extent", [1, 7, 64, 100_000])
def test_numbers_on_an_axis_are_few_and_inside(extent: int):
    step = max(1, 2 ** math.ceil(math.log2(extent / 64)))
    columns = Axis(name="key", extent=extent, step=step)
    drawn = heat(picture((f"{-(-extent // step)}d",), columns=columns, worst_cell=(0, 0)))
    assert 1 <= len(drawn.column_ticks) <= 12
    assert all(int(tick.text) < extent for tick in drawn.column_ticks)
    gaps = [b.at - a.at for a, b in zip(drawn.column_ticks, drawn.column_ticks[1:], strict=False)]
    assert all(gap >= 24 for gap in gaps)


def test_a_line_of_a_picture_unfolds():
    assert spread("12.3ab") == 12 * "." + "aaab"


def test_a_place_names_page_token_byte_and_tile():
    place = Coordinate(output="kv_cache", index=(3, 1), block=3, token=33, byte=20, where={"head": 2})
    found = storage_words(case(status=Status.FAILED, first_wrong=place, picture=picture()))
    assert found == "page 3 · token 33 · byte 20 · head 2 · tile 2, 1 (of 16 tokens × 16 bytes)"
    assert "tile" not in storage_words(case(first_wrong=place))


def test_the_worst_case_shows_its_picture_at_the_head_and_every_failed_row_has_one():
    red = case(1, Status.FAILED, gate(3.0, passed=False), picture=picture(), reason="bytes: wrong")
    document = html.render(run(case(0), red))
    head, _, rest = document.partition("</header>")
    assert head.count('<figure class="heat">') == 1
    assert '<template id="picture-1"><figure class="heat">' in rest


def test_pictures_stop_at_a_size_and_cases_come_before_drills():
    noise = picture(tuple("a.b." * 16 for _ in range(48)))
    many = [drill(n, picture=noise, fault=f"f{n}") for n in range(60)] + [case(99, Status.FAILED, picture=noise)]
    places = [place for place, _ in pictures(many)]
    assert 60 in places
    assert len(places) < 40
    assert sum(len(level.path) for _, drawn in pictures(many) for level in drawn.levels) < MOST_CHARACTERS


def test_a_strip_shows_that_a_passing_op_got_worse_and_comes_first():
    base = run(*(case(n, Status.PASSED, z(2.0 + n / 10)) for n in range(5)))
    head = run(*(case(n, Status.PASSED, z(4.0 + n / 5, 2.0)) for n in range(5)))
    (strip,) = strips(head, base).strips
    assert strip.ratio == pytest.approx(2.0)
    assert strip.worse
    assert "2× the base" in html.render(head, base)
    assert not strips(base, base).strips[0].worse


def test_bars_of_base_and_head_stand_at_the_same_places_on_both_sides_of_the_line():
    same = run(case(0, Status.PASSED, z(3.55)))
    (strip,) = strips(same, same).strips
    assert strip.base
    up, down = (re.fullmatch(rf"M([\d.]+) {LANE}v(-?[\d.]+).*", lane.path) for lane in (strip.head, strip.base))
    assert up
    assert down
    assert up[1] == down[1]
    assert float(up[2]) == -float(down[2])
    middle = float(up[1]) + strips(same, same).limit_at / 40 / 2
    assert middle == pytest.approx(strips(same, same).limit_at / 2, rel=0.05)


def test_errors_beyond_the_axis_are_drawn_at_its_end_and_counted():
    wild = run(case(0, Status.FAILED, z(1e30, passed=False)), case(1, Status.FAILED, z(None, passed=False)))
    (strip,) = strips(wild, None).strips
    assert strip.head.beyond == 2
    assert float(re.findall(r"M([\d.]+)", strip.head.path)[-1]) < WIDTH
    assert "2 beyond" in html.render(wild)


def test_ops_without_rounding_are_named_and_not_drawn():
    exact = run(case(0, Status.PASSED, gate(0.0, 0.0, name="bytes")))
    assert strips(exact, None).strips == ()
    assert strips(exact, None).exact == ("toy",)


def test_the_fault_score_counts_faults_and_names_survivors_and_what_only_one_check_saw():
    seen = gate(3.0, passed=False, name="bytes"), gate(3.0, passed=False, name="bounds")
    found = [(Status.FAILED, "a", seen), (Status.FAILED, "b", seen[:1]), (Status.BLIND, "c", seen[:0])]
    made = run(*(drill(n, status, fault, checks=checks) for n, (status, fault, checks) in enumerate(found)))
    score = fault_score(made, drill_table(made))
    assert (score.caught, score.injected, score.share, score.survivors) == (2, 3, 66, ("c",))
    assert [(s.check, s.faults, s.alone) for s in score.by_check] == [("bytes", 2, 1), ("bounds", 1, 0)]
    assert "Survivors:</b> c" in html.render(made)


def test_a_sparkline_spans_its_values_and_marks_the_step_with_its_commit():
    points = tuple((f"2026-01-0{day}T00:00:00Z", value, f"c{day}") for day, value in enumerate((2.0, 2.0, 5.0, 5.0), 1))
    flat, stepped = sparklines([Trend("flat", points[:2]), Trend("op", points, 2, "ms")])[::-1]
    assert stepped.name == "op"
    assert stepped.told == "step from 2 to 5 ms with c3 on 2026-01-03"
    places = re.findall(r"([\d.]+) ([\d.]+)", stepped.path)
    assert [float(y) for _, y in places] == [HEIGHT - EDGE] * 2 + [EDGE] * 2
    assert (float(places[0][0]), float(places[-1][0])) == (EDGE, SPARK - EDGE)
    assert float(places[1][0]) < (stepped.step or 0) < float(places[2][0])
    assert (flat.step, flat.told) == (None, "")


def test_an_infinite_value_is_drawn_at_the_edge_and_named():
    (line,) = sparklines([Trend("op", (("2026-01-01", 1.0, "a"), ("2026-01-02", 3.0, "b"), ("2026-01-03", inf, "c")))])
    heights = [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", line.path)]
    assert heights == [HEIGHT - EDGE, EDGE, EDGE]
    assert (line.latest, line.spread) == ("∞", "1 to ∞")


@pytest.mark.parametrize("points", [(), (("2026-01-01", 1.0, ""),)])
def test_short_trends_are_drawn_or_left_out_but_never_an_error(points: Any):
    assert len(sparklines([Trend("op", points, 5)])) == len(points)


def test_what_red_cases_share_is_the_axis_that_separates_them():
    def at(size: int, number: int, status: Status = Status.PASSED) -> CaseRecord:
        return case(number, status, block_size=size, arch=("gfx942", "gfx950")[number % 2])

    red = [at(1, n, Status.FAILED) for n in range(4)]
    found = in_common(run(*red, *(at(64, n) for n in range(4, 10))))
    assert "all at block size 1: every one of these cases is red, none of the 6 others" in found
    assert "no single axis" in in_common(run(*red, *(at(1, n) for n in range(4, 10))))
    assert "every case of them is red" in in_common(run(*red))
    assert in_common(run(red[0], at(64, 9))) == ""


def test_the_alpha_budget_follows_from_limits_and_counts():
    rows = gate(1.0, 12.0, name="worst-row")
    found = budget(20_000 * [case(0, Status.PASSED, z(3.0), rows, counts={"elements": 33_000})])
    shares = {share.gate: share.expected for share in found.shares}
    assert shares["max-z 7.1"] == pytest.approx(8e-4, rel=0.1)
    assert shares["worst-row 12"] == pytest.approx(9e-4, rel=0.1)
    assert found.total == pytest.approx(sum(shares.values()))
    assert budget([case(0, Status.PASSED, z(3.0, passed=True), counts={})]).every == ""


def test_the_comparison_names_new_failures_fixes_and_moves():
    base = run(case(0, Status.PASSED, gate(0.5)), case(1, Status.FAILED), case(2), case(3))
    broken = case(0, Status.FAILED, gate(4.0, passed=False), reason="it broke")
    text = re.sub(r"<[^>]+>|\s+", " ", html.render(run(broken, case(1), case(2)), base))
    text = re.sub(r"\s+", " ", text)
    assert "1 new failure; 1 case that ran in the base did not run; new failures in toy" in text
    assert "1 fixed" in text
    assert "passed → failed it broke" in text
    found = comparison(compare(base, run(broken, case(1), case(2))), "base.jsonl")
    assert [(move.base, move.head, move.log2, move.beyond) for move in found.moved] == [("0.25", "2", "+3.0", True)]
    assert found.code.startswith("unknown")


def test_an_equal_base_says_that_nothing_is_worse():
    same = run(case(0), case(1))
    text = html.render(same, same)
    assert "2 cases compared; nothing is worse" in text
    assert "No verdict changed and no error moved." in text


def test_many_new_failures_are_counted_and_only_some_are_told():
    base, head = run(*(case(n) for n in range(500))), run(*(case(n, Status.FAILED) for n in range(500)))
    kind = comparison(compare(base, head), "b").kinds[0]
    assert (kind.count, len(kind.told)) == (500, SEVERAL)


@pytest.mark.parametrize("field", ["case", "reason", "repro", "op", "fault", "commit", "device", "recipe", "digest"])
def test_a_megabyte_of_text_is_cut_with_a_note(field: str):
    long = "<b>\x1b[31m\u202e" + "x" * 1_000_000
    made = case(0, Status.FAILED, gate(3.0, passed=False)).model_copy(update={field: long})
    document = html.render(run(made, case(1)), run(case(1)), [Trend(long, (("2026-01-01", 1.0, long),))])
    assert len(document) < 50 * LONGEST + 120_000
    assert "… (1,000,008 characters)" in document or "… (1,000,0" in document
    assert "<b>\\x1b" not in document


def test_a_check_that_does_not_apply_is_not_said_to_hold():
    apart = gate().model_copy(update={"applicable": False})
    data = encode([case(0, Status.PASSED, apart, gate(1.5))])
    assert [shape[2] for shape in data["shapes"]] == [2, 1]  # type: ignore[union-attr]


def test_a_large_page_takes_little_more_than_a_hundred_bytes_a_case():
    made = big(EVERYTHING_UP_TO + 100)
    red = [record for record in made.records if record.status is Status.FAILED]
    document = html.render(made)
    rows = re.search(r'id="data">(.*?)</script>', document, re.DOTALL)
    assert rows
    assert len(rows[1]) < 100 * len(made.records)
    assert len(document) - len(rows[1]) < 750_000
    assert all(record.digest in rows[1] for record in red)
    assert "green cases are shown with their verdicts and statistics" in document
