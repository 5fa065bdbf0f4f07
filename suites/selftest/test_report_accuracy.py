"""Accuracy in the reports: intervals drawn where they are, each defect beside its kernels, nothing foreign alive."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.results import Evaluation, Status, latest, read
from rocassay.reports import html
from rocassay.reports.accuracytable import DEFECT_HEADINGS, HEADINGS, accuracy_table, as_json, markdown
from rocassay.reports.html.blame import Blame, blames, in_short
from rocassay.reports.html.evaluations import groups, rows
from rocassay.reports.html.forest import MARGIN, WIDTH
from rocassay.reports.html.words import plain, points
from rocassay.suites.selftest.children import Children
from rocassay.suites.selftest.evaluations import assay_of, drill_case, evaluation, question, written

GOOD, DEAD = "+" * 40, "+" + "-" * 39


def visible(document: str) -> str:
    """Text of the page without markup, styles and scripts, single-spaced."""
    body = re.sub(r"<(style|script|noscript|template)\b.*?</\1>", " ", document, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body)))


def one(*evaluations: Evaluation, **assay: Any) -> Blame:
    (found,) = blames(assay_of(*evaluations, **assay))
    return found


def plots(document: str) -> list[str]:
    """The drawing of every row, axis and legend left out."""
    drawings = re.findall(r'<svg class="forest [^"]*" viewBox.*?</svg>', document, re.DOTALL)
    return [drawing for drawing in drawings if "aria-label" in drawing and "axis" not in drawing[:30]]


def numbers(drawing: str, css: str) -> tuple[float, float]:
    found = re.search(rf'class="{css}" x1="([\d.]+)" x2="([\d.]+)"', drawing)
    assert found, drawing
    return float(found[1]), float(found[2])


def center(drawing: str) -> float:
    """Horizontal centre of the mark."""
    disc = re.search(r'class="point" cx="([\d.]+)"', drawing)
    tip = re.search(r'class="point" d="M([\d.]+) [\d.]+l([\d.]+) [\d.]+-\2 [\d.]+-\2-[\d.]+z"', drawing)
    found = disc or tip
    assert found, drawing
    return float(found[1])


def on_axis(document: str, value: float) -> float:
    """Where a share lies according to the texts of the axis."""
    drawn = re.search(r'<svg class="forest axis".*?</svg>', document, re.DOTALL)
    assert drawn
    ticks = {float(text): float(x) for x, text in re.findall(r'<text x="([\d.]+)"[^>]*>([\d.]+)</text>', drawn[0])}
    assert set(ticks) == {0.0, 0.25, 0.5, 0.75, 1.0}
    assert ticks[0.25] - ticks[0.0] == pytest.approx(ticks[1.0] - ticks[0.75])
    return ticks[0.0] + value * (ticks[1.0] - ticks[0.0])


def test_an_interval_is_drawn_where_the_axis_has_its_ends() -> None:
    healthy = evaluation("+++" + "-" * 7, status="red", verdict={"interval": (0.2, 0.4)})
    faulted = evaluation("+" + "-" * 9, "swap", verdict={"interval": (0.0, 0.25)})
    document = html.render(assay_of(healthy, faulted))
    disc, diamond = plots(document)
    assert numbers(disc, "interval") == pytest.approx((on_axis(document, 0.2), on_axis(document, 0.4)))
    assert center(disc) == pytest.approx(on_axis(document, 0.3))
    assert numbers(disc, "floor")[0] == pytest.approx(on_axis(document, 0.75))
    assert numbers(diamond, "interval") == pytest.approx((on_axis(document, 0.0), on_axis(document, 0.25)))
    assert center(diamond) == pytest.approx(on_axis(document, 0.1))
    assert ("<circle" in disc, "<circle" in diamond) == (True, False)
    assert "accuracy 0.3000, 95 % interval 0.2000 to 0.4000, floor 0.75" in disc


def test_what_lies_beyond_the_axis_is_drawn_at_its_end_and_what_is_unknown_is_not_drawn() -> None:
    odd = evaluation(GOOD, status="green", verdict={"interval": (-3.0, 7.0), "correct": 80, "checks": ()})
    document = html.render(assay_of(odd, evaluation("", status="none", planned=9, run_id="none", task="other")))
    drawn, empty = plots(document)
    assert numbers(drawn, "interval") == pytest.approx((on_axis(document, 0), on_axis(document, 1)))
    assert center(drawn) == pytest.approx(on_axis(document, 1))
    assert MARGIN <= center(drawn) <= WIDTH - MARGIN, "the mark would be cut at the edge"
    assert not re.search('class="(point|interval|floor)"', empty)


def test_a_row_counts_what_went_into_its_number() -> None:
    (row,) = rows(assay_of(evaluation("++-?~!", planned=9, status="undecided", verdict={"stopped_after": 6})))
    assert (row.asked, row.planned, row.correct, row.correct_flexible) == (6, 9, 2, 3)
    assert (row.invalid, row.truncated, row.errors, row.stopped_after) == (2, 1, 1, 6)
    text = visible(html.render(assay_of(evaluation("++-?~!", status="undecided"))))
    assert "0.3333 2 / 6 3 – 2 · 1 · 1 12 s undecided" in text


def test_reason_power_checks_and_repro_stand_behind_the_row() -> None:
    document = html.render(assay_of(evaluation(GOOD, verdict={"reason": "every check holds, indeed"})))
    found = re.search(r"<details><summary>(.*?)</summary>(.*?)</details>", document, re.DOTALL)
    assert found
    assert found[1] == "every check holds, indeed"
    told = visible(found[2])
    assert "Power: a drop of 2.0 points is seen with probability 0.96." in told
    assert "rocassay gsm8k --run healthy40" in told
    assert "floor held 0.96 0.75 0.96 at least declared" in told


@pytest.mark.parametrize("status", ["red", "blind", "refused", "undecided", "needs-confirmation"])
def test_a_healthy_evaluation_that_is_not_green_makes_the_verdict_red_and_is_named(status: str) -> None:
    assay = assay_of(evaluation(GOOD, status=status, verdict={"reason": "because of that"}))
    assert len(assay.red_reasons()) == 1
    text = visible(html.render(assay))
    assert f"FAIL accuracy of toy gfx942 e4m3fnuz bs1 rocassay device is {status}: because of that" in text
    assert "rocassay gsm8k --run healthy40" in text.partition("Accuracy")[0]


def test_accuracy_is_named_among_several_reasons() -> None:
    assay = assay_of(evaluation(DEAD, status="red"), records=(drill_case(None),), planned=1)
    assert "FAIL for 3 reasons; accuracy is red in 1 of 1 evaluation" in visible(html.render(assay))


@pytest.mark.parametrize("status", ["red", "blind", "green"])
def test_a_faulted_evaluation_never_makes_the_verdict_red(status: str) -> None:
    assay = assay_of(evaluation(GOOD), evaluation(DEAD, "swap", status=status))
    assert assay.red_reasons() == []
    assert "PASS accuracy is green in 1 evaluation" in visible(html.render(assay))


def test_an_evaluation_that_was_cut_short_says_how_far_it_came() -> None:
    assay = assay_of(evaluation("++-", planned=40, status="none"))
    assert len(assay.red_reasons()) == 1
    text = visible(html.render(assay))
    assert "cut short 3 of 40 questions are answered; `rocassay gsm8k --resume` completes it" in text


def test_a_page_of_evaluations_only_speaks_of_no_cases() -> None:
    document = html.render(assay_of(evaluation(GOOD)))
    text = visible(document)
    assert "<title>PASS · rocassay · gfx942</title>" in document
    assert "PASS accuracy is green in 1 evaluation" in text
    assert "Device a GPU" in text
    assert "Evaluations took 12 s" in text
    assert not re.search(r"no case|No case|cases|Error map|Drills|Safety|cut short", text)
    assert 'id="data"' not in document
    assert document.count("<table") == document.count("<caption")


def test_a_page_of_cases_only_says_that_accuracy_was_not_measured() -> None:
    text = visible(html.render(assay_of(records=(drill_case("swap"),))))
    assert "This file holds no end-to-end evaluation" in text


def test_a_repeated_run_shows_both_and_is_judged_by_the_last() -> None:
    first = evaluation(GOOD, status="needs-confirmation", run_id="a")
    assay = assay_of(first, evaluation(GOOD, run_id="b"))
    assert [(row.run_id, row.part, row.status) for row in rows(assay)] == [
        ("a", "first run", "needs-confirmation"),
        ("b", "repeated", "green"),
    ]
    assert assay.red_reasons() == []
    assert "PASS accuracy is green in 1 evaluation" in visible(html.render(assay))


def test_a_later_run_replaces_an_earlier_one_unless_it_asked_fewer_questions() -> None:
    night, glance, again = (
        evaluation(DEAD, status="red", run_id="night"),
        evaluation("++++", run_id="glance"),
        evaluation(GOOD, run_id="again"),
    )
    assert [e.header.run_id for e in latest([night, glance])] == ["night", "glance"]
    assert len(assay_of(night, glance).red_reasons()) == 1
    assert [e.header.run_id for e in latest([night, glance, again])] == ["again"]
    assert assay_of(night, glance, again).red_reasons() == []
    assert [row.run_id for row in rows(assay_of(night, again))] == ["again"]


def test_every_task_of_a_sweep_counts() -> None:
    short = evaluation(DEAD, status="red", run_id="s", task="retrieval-4096")
    sweep = assay_of(short, evaluation(GOOD, run_id="l", task="retrieval-8192"))
    assert [group.task for group in groups(sweep)] == ["retrieval-4096, 5 shots", "retrieval-8192, 5 shots"]
    assert len(sweep.red_reasons()) == 1


def test_the_healthy_run_of_a_configuration_comes_before_its_faults() -> None:
    faulted, other = evaluation(DEAD, "swap"), evaluation(GOOD, block_size=64, run_id="other")
    found = groups(assay_of(faulted, other, evaluation(GOOD)))
    assert [[row.run_id for row in group.rows] for group in found] == [["healthy40", "swap40"], ["other"]]


def test_a_fault_that_broke_the_answers_stands_beside_its_kernel() -> None:
    drills = (
        drill_case("swap"),
        drill_case("swap", seed=1, case="other"),
        drill_case("swap", "all", launches=("a", "b")),
    )
    faulted = evaluation(DEAD, "swap", verdict={"stopped_after": 14})
    found = one(evaluation(GOOD), faulted, records=drills)
    assert [(k.op, k.red, k.run, k.caught_by, k.place) for k in found.kernels] == [
        ("gather", 2, 2, ("bytes",), "block 3, token 1, byte 16"),
        ("all", 1, 1, ("bytes",), "block 3, token 1, byte 16"),
    ]
    assert (found.healthy, found.accuracy, found.shared, found.stopped_after) == (1.0, 1 / 14, 14, 14)
    assert points(found.drop or 0) == "−92.9 points"
    assert (found.effect, found.sentence) == ("broken", "Both see it.")
    text = visible(html.render(assay_of(evaluation(GOOD), faulted, records=drills)))
    assert "gather 2 / 2 bytes · block 3, token 1, byte 16" in text
    assert "1.0000 → 0.0714 on the same 14 questions −92.9 14 Both see it." in text


@pytest.mark.parametrize("status", ["blind", "green", "red"])
def test_a_fault_that_changes_no_answer_is_one_that_accuracy_is_blind_to(status: str) -> None:
    assay = assay_of(evaluation(GOOD), evaluation(GOOD, "swap", status=status), records=(drill_case("swap"),))
    (found,) = blames(assay)
    assert found.effect == "blind"
    assert found.sentence == (
        "Accuracy is blind to it: the same 40 of 40 questions are right. Only the kernels' cases show it."
    )
    assert in_short([found]).endswith(
        "a kernel's own case goes red for 1, and the answers fall for 0. Accuracy is blind to swap."
    )
    assert in_short([found]) in visible(html.render(assay))


def test_a_loss_within_the_intervals_is_told_and_still_blind() -> None:
    found = one(evaluation(GOOD), evaluation("-+-" + "+" * 37, "swap", status="blind"))
    assert found.effect == "blind"
    assert "Accuracy is blind to it: −5.0 points (2 lost, 0 gained) are within the intervals." in found.sentence
    assert found.sentence.endswith("This file holds no kernel drill of it.")


def test_intervals_that_lie_apart_are_a_fall_whatever_the_verdict() -> None:
    assert one(evaluation(GOOD), evaluation(DEAD, "swap", status="blind")).effect == "broken"


def test_a_red_verdict_of_a_fault_is_no_effect_where_the_healthy_run_is_as_bad() -> None:
    sound, ill = evaluation(DEAD, status="red"), evaluation(DEAD, "swap")
    (_, found) = blames(assay_of(sound, ill))
    assert found.effect == "blind"


def test_a_fault_that_only_accuracy_sees_is_a_hole_in_the_kernels_cases() -> None:
    found = one(evaluation(GOOD), evaluation(DEAD, "swap"), records=(drill_case("swap", red=False),))
    assert (found.effect, found.red, found.run) == ("broken", 0, 1)
    assert found.sentence == "The answers fall. Only accuracy sees it: no kernel case goes red."


def test_an_evaluation_without_a_verdict_or_a_comparison_says_nothing() -> None:
    assert one(evaluation(GOOD), evaluation("--", "swap", status="none")).effect == "unknown"
    refused = one(evaluation(GOOD), evaluation(GOOD, "swap", status="refused", verdict={"reason": "mixed"}))
    assert (refused.effect, refused.sentence[:47]) == ("unknown", "Accuracy says nothing yet (refused: mixed). Thi")
    assert one(evaluation(GOOD, "swap", status="blind")).effect == "unknown"


def test_only_questions_that_both_runs_answered_are_compared() -> None:
    found = one(evaluation("-" * 10 + "+" * 30, status="blind"), evaluation("-" * 10 + "+" * 10 + "-" * 5, "swap"))
    assert (found.shared, found.healthy, found.accuracy) == (25, 0.6, 0.4)
    assert (found.lost, found.gained) == (5, 0)


@pytest.mark.parametrize("changes", [{"prompts": "others"}, {"block_size": 64}, {"engine": "served"}, {"task": "math"}])
def test_runs_of_other_prompts_or_configurations_are_not_compared(changes: dict[str, Any]) -> None:
    found = one(evaluation(GOOD, **changes), evaluation(DEAD, "swap"))
    assert (found.healthy, found.drop, found.flips) == (None, None, ())


def test_flipped_questions_are_told_with_what_was_expected_and_answered() -> None:
    found = one(evaluation("+++++-"), evaluation("+-?~!+", "swap"))
    assert (found.lost, found.gained) == (4, 1)
    assert [(f.id, f.expected, f.healthy, f.faulted, f.lost) for f in found.flips] == [
        ("q0001", "7", "7", "8", True),
        ("q0002", "7", "7", "no number in “no idea”", True),
        ("q0003", "7", "7", "no number in “and”", True),
        ("q0004", "7", "7", "no answer: HTTP 500", True),
        ("q0005", "7", "8", "7", False),
    ]
    document = html.render(assay_of(evaluation("+++++-"), evaluation("+-?~!+", "swap")))
    assert "5 questions flipped: 4 lost, 1 gained" in visible(document)
    assert "q0001 7 right 8 q0002 7 right no number in “no idea”" in visible(document)
    assert "q0005 7 8 right" in visible(document)
    assert "RIGHTANSWER" not in document
    assert "q0000" not in document


def test_at_most_twenty_flipped_questions_are_told_in_the_order_of_asking() -> None:
    found = one(evaluation(GOOD), evaluation(DEAD, "swap"))
    assert (found.lost, [flip.id for flip in found.flips]) == (39, [f"q{n:04d}" for n in range(1, 21)])


def test_a_combination_stands_beside_the_drills_of_each_of_its_faults() -> None:
    drills = (drill_case("swap"), drill_case("shift", "rope"), drill_case("other", "unrelated"))
    found = one(evaluation(GOOD), evaluation(DEAD, "swap", "shift"), records=drills)
    assert found.label == "swap + shift"
    assert [(kernel.fault, kernel.op) for kernel in found.kernels] == [("swap", "gather"), ("shift", "rope")]


def test_the_first_wrong_place_is_that_of_the_case_most_like_the_evaluation() -> None:
    near = drill_case("swap", seed=1, case="near", block_size=64)
    assert near.first_wrong
    near = near.model_copy(update={"first_wrong": near.first_wrong.model_copy(update={"block": 77})})
    both = (drill_case("swap"), near)
    found = one(evaluation(GOOD, block_size=64), evaluation(DEAD, "swap", block_size=64), records=both)
    assert found.kernels[0].place == "block 77, token 1, byte 16"


def test_a_red_healthy_evaluation_stands_beside_the_red_cases_of_its_chip() -> None:
    elsewhere = drill_case(None, "elsewhere", arch="gfx950")
    cases = (drill_case(None, "culprit"), drill_case(None, "fine", red=False), elsewhere, drill_case("swap", "drilled"))
    found = one(evaluation(DEAD, status="red"), records=cases)
    assert (found.faults, [kernel.op for kernel in found.kernels], found.red, found.run) == ((), ["culprit"], 1, 2)
    assert found.sentence == "Kernel cases of gfx942 e4m3fnuz are red, too: look there first."
    fine = one(evaluation(DEAD, status="red"), records=(drill_case(None, "fine", red=False),))
    assert fine.sentence == "None of 1 kernel case of gfx942 e4m3fnuz is red: they do not explain it."
    assert "holds no kernel case" in one(evaluation(DEAD, status="red")).sentence


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)> \" ' \x1b[31m \u202egnp {{ 7*7 }} <!-- | `"


def hostile_assay(text: str, name: str) -> Any:
    """An assay whose every name is one text, and every answer, reason and command another."""
    fields: dict[str, Any] = {"reason": text, "power": text, "repro": text}
    common: dict[str, Any] = {"model": name, "task": name, "device": text, "commit": text, "command": text}
    healthy = evaluation("+++", status="undecided", verdict=fields, **common)
    faulted = evaluation("---", name, verdict=fields, **common)
    for found in (healthy, faulted):
        run_id, wrong = found.header.run_id, found is faulted
        answers = [
            question(run_id, 0, "-" if wrong else "+", id=text, gold=text, strict=text, text=text),
            question(run_id, 1, "?" if wrong else "+", id=f"1{text}", text=text),
            question(run_id, 2, "!" if wrong else "+", id=f"2{text}", error=text),
        ]
        found.questions = {answer.id: answer for answer in answers}
    return assay_of(healthy, faulted, records=(drill_case(name, name),))


def test_hostile_names_answers_and_reasons_are_shown_and_do_nothing() -> None:
    document = html.render(hostile_assay(HOSTILE, HOSTILE))
    assert document.count("<script") == document.count("</script>") == 2
    assert "<img" not in document
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", document)
    assert "49" not in visible(document)
    assert plain(HOSTILE) in visible(document)
    assert "3 questions flipped" in visible(document)


def test_a_megabyte_in_every_text_makes_no_megabyte_of_page() -> None:
    assay = hostile_assay("<b>" + "x" * 1_000_000, "swap")
    document = html.render(assay)
    assert "(1,000,003 characters)" in document
    assert len(document) < 100_000
    assert len(markdown(accuracy_table(assay))) < 10_000
    assert len(as_json(accuracy_table(assay))) < 20_000


def test_the_page_of_many_whole_evaluations_stays_small() -> None:
    many = [
        evaluation(GOOD * 33 if not faults else DEAD * 33, *faults, block_size=size, run_id=f"{size}{faults}")
        for size in range(1, 11)
        for faults in ((), ("swap",), ("shift",))
    ]
    assert len(html.render(assay_of(*many))) < 400_000


def test_healthy_ops_are_folded_away_and_an_op_with_a_finding_is_not() -> None:
    calm = [drill_case(None, f"op{n}", red=False) for n in range(12)]
    document = html.render(assay_of(records=(*calm, drill_case(None, "culprit"))))
    loud, _, folded = document.partition('<details class="calm">')
    assert "<caption>culprit</caption>" in loud
    assert "<caption>op3</caption>" not in loud
    assert "<caption>op3</caption>" in folded.partition("</details>")[0]
    assert "12 further ops without a finding" in visible(document)


def test_caught_faults_are_folded_away_and_holes_are_not() -> None:
    caught = [drill_case(f"fault{n}") for n in range(12)]
    document = html.render(assay_of(records=(*caught, drill_case("missed", red=False))))
    section = document[document.index('<section id="drills"') :]
    loud, _, folded = section.partition('<details class="calm">')
    assert ("missed" in loud, "fault3" in loud, "fault3" in folded) == (True, False, True)


def whole() -> Any:
    return assay_of(
        evaluation(GOOD), evaluation(DEAD, "swap", verdict={"stopped_after": 40}), records=(drill_case("swap"),)
    )


def test_markdown_holds_both_tables_with_as_many_columns_in_every_line() -> None:
    text = markdown(accuracy_table(whole()))
    first, said, second = text.strip().split("\n\n")
    for table, headings in ((first, HEADINGS), (second, DEFECT_HEADINGS)):
        assert {line.count("|") for line in table.splitlines()} == {len(headings) + 1}
    assert "| swap | red, as wanted | 0.0250 |" in first
    assert (
        "| gather 1 / 1: bytes; first wrong: block 3, token 1, byte 16 | Both see it. | 1.0000 → 0.0250 | −97.5 | 40 |"
        in second
    )
    assert said == "Of 1 injected defect, a kernel's own case goes red for 1, and the answers fall for 1."


def test_markdown_keeps_hostile_texts_in_their_cells() -> None:
    text = markdown(accuracy_table(hostile_assay(HOSTILE, f"{HOSTILE}\n[a](b)")))
    tables = [block.splitlines() for block in text.strip().split("\n\n")]
    for table, headings in ((tables[0], HEADINGS), (tables[2], DEFECT_HEADINGS)):
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(headings) + 1}
    assert not re.search(r"<(?!br>)|(?<!\\)[\[`]|\x1b|\u202e", text)


def test_json_says_what_the_records_say() -> None:
    found = json.loads(as_json(accuracy_table(whole())))
    assert [(row["run_id"], row["accuracy"], row["status"]) for row in found["evaluations"]] == [
        ("healthy40", 1.0, "green"),
        ("swap40", 0.025, "red"),
    ]
    (defect,) = found["defects"]
    assert (defect["drop"], defect["lost"], len(defect["flips"])) == (-0.975, 39, 20)
    assert defect["kernels"][0]["place_in_full"] == str(drill_case("swap").first_wrong)


def test_the_tables_are_the_same_after_a_trip_through_the_file(tmp_path: Path) -> None:
    again = read(written(whole(), tmp_path / "results.jsonl"))
    assert as_json(accuracy_table(again)) == as_json(accuracy_table(whole()))


@pytest.fixture
def green(tmp_path: Path) -> Path:
    """A file of evaluations only, and green although a fault was injected."""
    written(assay_of(evaluation(GOOD), evaluation(DEAD, "swap")), tmp_path / "results.jsonl")
    return tmp_path


@pytest.mark.parametrize("form", ["", "--md", "--json"])
def test_the_command_prints_the_same_numbers_in_every_form(children: Children, green: Path, form: str) -> None:
    done = children.rocassay("report", "accuracy", green, *filter(None, [form]))
    assert done.code == 0, done
    assert all(word in done.out for word in ("swap", "0.025", "e4m3fnuz", "39" if form == "--json" else "−97.5"))


@pytest.mark.parametrize("verb", ["accuracy", "html", "ops"])
def test_every_report_is_red_with_a_red_or_blind_healthy_evaluation(children: Children, green: Path, verb: str) -> None:
    assert children.rocassay("report", verb, green).code == 0
    for number, status in enumerate(("blind", "red")):
        ill = evaluation(GOOD, status=status, run_id=f"later{number}")
        written(assay_of(ill), green / "results.jsonl")
        assert children.rocassay("report", verb, green).code == 1


def test_two_forms_at_once_are_one_clear_error(children: Children, green: Path) -> None:
    done = children.rocassay("report", "accuracy", green, "--md", "--json")
    assert done.complaint == "rocassay: --md and --json exclude each other; pass one of them"


def test_no_crash_counts_as_a_caught_drill() -> None:
    crashed = drill_case("swap", status=Status.CRASHED)
    assert one(evaluation(GOOD), evaluation(DEAD, "swap"), records=(crashed,)).red == 0
