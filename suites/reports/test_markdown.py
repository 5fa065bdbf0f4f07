"""Markdown for a step summary and a comment: the verdict first, whole rows within the limit, nothing foreign alive."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from markdown_it import MarkdownIt

from rocassay.harness.errors import RocassayError
from rocassay.harness.results import Cell, Coordinate, Status
from rocassay.reports.diff import compare
from rocassay.reports.html.words import plain
from rocassay.reports.markdown import COMMENT_BYTES, LEAST_BYTES, SUMMARY_BYTES, diff_markdown, run_markdown
from rocassay.reports.markdown.budget import Block, assembled
from rocassay.reports.markdown.inert import code, fenced
from rocassay.suites.reports.runs import HOSTILE, case, drill, gate, run
from rocassay.suites.selftest.evaluations import evaluation
from rocassay.suites.selftest.toys import toy_case

WRONG = Coordinate(output="kv_cache", index=(3, 1, 16), block=3, token=1, byte=16)
ELEMENTS = frozenset("b br code details h1 h2 li p pre summary table td th tr ul".split())  # noqa: SIM905


class Rendered(HTMLParser):
    """What a reader sees: elements, text in code, text elsewhere."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.elements: dict[str, int] = {}
        self.attributes: set[str] = set()
        self.code: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102
        self.elements[tag] = self.elements.get(tag, 0) + 1
        self.attributes |= {name for name, _ in attrs}
        if tag == "br":
            self.handle_data("\n")
            return
        self.open.append(tag)
        if tag == "code":
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:  # noqa: D102
        assert self.open.pop() == tag, f"{tag} closes what another element opened"

    def handle_data(self, data: str) -> None:  # noqa: D102
        if "code" in self.open:
            self.code[-1] += data
        else:
            self.words += data


def hostile(text: str, **changes: Any) -> Any:
    where = Coordinate(output=text, index=(1,))
    check = gate(None, passed=False, name=text)
    fields: dict[str, Any] = {"reason": text, "case": text, "op": text, "provider": text, "repro": text, "digest": ""}
    return case(1, Status.FAILED, check, first_wrong=where, **{**fields, **changes})


def test_the_verdict_stands_first_then_what_was_not_run_then_failures_with_repro_and_place():
    red = case(1, Status.FAILED, first_wrong=WRONG, reason="bytes: 7 differ")
    cell = Cell(op="toy", arch="gfx950", fp8="e4m3fn", block_size=64, engine="interpreter")
    text = run_markdown(run(case(0), red, case(2, Status.NOT_RUN, reason="no GPU"), expected=(cell,)))
    assert text.startswith("# ❌ FAIL\n")
    seen = Rendered(text)
    places = [text.index(words) for words in ("FAIL", "## Not run", "no GPU", "## Failures: 1", "bytes: 7 differ")]
    assert places == sorted(places)
    assert str(WRONG) in seen.code
    assert f"```sh\n{red.repro}\n```\n" in text
    assert [words for words in seen.code if words in ("gfx950", "e4m3fn", "64")] == ["gfx950", "e4m3fn", "64"]
    assert run_markdown(run(case(0))).startswith("# ✅ PASS\n")
    assert "Nothing: everything that was expected ran." in run_markdown(run(case(0)))


def test_against_a_base_only_new_failures_are_told_and_the_rest_is_folded():
    base = run(case(0), case(1, Status.FAILED, reason="old"), drill(5), evaluations=(evaluation("++"),))
    red = case(0, Status.FAILED, reason="new"), case(1, Status.FAILED, reason="old")
    head = run(*red, drill(5, Status.BLIND, reason="blind"), evaluations=(evaluation("+-", status="red"),))
    text = run_markdown(head, base)
    failures = text[text.index("## New failures: 2") : text.index("<details")]
    assert "<code>new</code>" in failures
    assert "<code>blind</code>" in failures
    assert "<code>old</code>" not in failures
    assert "<summary>Still red (1)</summary>" in text
    assert "<summary>Accuracy (1)</summary>" in text
    assert "## ❌ FAIL: worse than the base" in text
    assert "accuracy of toy gfx942 e4m3fnuz bs1 rocassay device, toys with 5 shots is red, was green" in text
    better = run_markdown(base, head)
    assert "## ✅ PASS: nothing is worse than in the base" in better
    assert better.startswith("# ❌ FAIL"), "a verdict is not better than its run because another was worse"


@pytest.mark.parametrize("text", [HOSTILE, "`" * 50, "|" * 9, "\n\n# x\n\n<h1>y</h1>", "\x00 \u200b", " ", "&lt;b&gt;"])
def test_hostile_text_is_seen_as_it_is_and_does_nothing(text: str):
    made = run(case(0), hostile(text), drill(3, Status.BLIND, fault=text), commit=text, versions={text: text})
    for markdown in (run_markdown(made), run_markdown(made, run(case(0), drill(3, fault=text)))):
        seen = Rendered(markdown)
        assert set(seen.elements) <= ELEMENTS
        assert seen.attributes <= {"class", "open", "colspan"}
        assert seen.open == []
        assert "@" not in seen.words
        assert "evil" not in seen.words
        assert plain(text) in seen.code or not text.strip()
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800]", markdown)


def test_a_fence_is_longer_than_any_in_the_text_and_holds_one_line():
    text = "run\n```\n# head\n````\n"
    assert fenced(text) == "`````sh\nrun\\n```\\n# head\\n````\\n\n`````\n"
    (block,) = Rendered(fenced(text)).code
    assert block == "run\\n```\\n# head\\n````\\n\n"


def test_line_ends_do_not_end_the_block_and_empty_text_is_a_dash():
    assert code("a\n\nb") == "<code>a<br><br>b</code>"
    assert code(" \n") == "–"


@pytest.mark.parametrize("limit", [LEAST_BYTES, 3000, COMMENT_BYTES, SUMMARY_BYTES])
def test_no_limit_is_exceeded_whole_rows_only_and_what_was_left_out_is_counted(limit: int):
    many = [hostile(f"🔥{HOSTILE}{'é' * 10**3}{n}", seed=n) for n in range(200)]
    huge = hostile("x|`<@" * 250_000)
    head = run(huge, *many, *(case(n + 10, digest="z") for n in range(700)), *(drill(n) for n in range(200)))
    base = run(*(case(n + 10) for n in range(700)), *(case(n + 1000) for n in range(300)))
    for markdown in (run_markdown(head, most=limit), run_markdown(head, base, most=limit)):
        assert len(markdown.encode()) <= limit
        assert markdown.startswith("# ❌ FAIL")
        seen = Rendered(markdown)
        assert seen.open == []
        assert set(seen.elements) <= ELEMENTS
        if limit < SUMMARY_BYTES:
            assert re.search(r"… and [\d,]+ more", markdown)
    assert len(diff_markdown(compare(base, head), most=limit).encode()) <= limit


def test_a_limit_without_room_for_a_verdict_is_refused():
    with pytest.raises(RocassayError, match="999 bytes have no room for a verdict; allow 1000 at least"):
        run_markdown(run(case(0)), most=999)


def rows_shown(text: str, name: str) -> int:
    return text.count(f"{name} row")


def blocks_of(**rows: int) -> list[Block]:
    return [
        Block(f"<{name}>\n", [f"{name} row {n:04d}\n" for n in range(count)], f"</{name}>\n")
        for name, count in rows.items()
    ]


def test_a_long_block_does_not_starve_a_later_one_and_what_fits_is_shown_whole():
    text = assembled(blocks_of(a=1000, b=3, c=50), 2000)
    assert rows_shown(text, "b") == 3
    assert rows_shown(text, "c") == 5
    shown = rows_shown(text, "a")
    assert f"a row {shown - 1:04d}\n… and {1000 - shown} more\n</a>" in text
    assert 1900 < len(text.encode()) <= 2000, "what is allowed is used"
    assert assembled(blocks_of(a=10, b=3), 2000).count("more") == 0


def test_a_block_whose_head_has_no_room_is_left_out_and_counted():
    text = assembled([Block("a" * 900, ["row\n"]), Block("b" * 900), Block("c" * 900)], 1000)
    assert text == "a" * 900 + "row\n" + "\n… and 2 more sections: no room\n"


def test_limit_keeps_the_first_rows_of_every_table_of_a_comparison():
    changes = compare(run(*(case(n) for n in range(20))), run(*(case(n, Status.FAILED) for n in range(20))))
    text = diff_markdown(changes, limit=3)
    assert text.count(str(toy_case())[:12]) == 3
    assert "… and 17 more" in text
    assert "<summary>New failures (20)</summary>" in text
    assert diff_markdown(changes).count(str(toy_case())[:12]) == 20
