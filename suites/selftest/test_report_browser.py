"""The reviewer's page in a real browser: offline, keyboard, deep links, what an opened row says."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.results import Assay, Axis, CaseRecord, Check, Coordinate, Picture, RunHeader, Status
from rocassay.reports import html
from rocassay.suites.selftest.evaluations import assay_of, drill_case, evaluation, question

pytestmark = pytest.mark.browser

PLACE = Coordinate(output="kv_cache", index=(3, 1), block=3, token=1, byte=16, offset=144)


def record(seed: int, **changes: Any) -> CaseRecord:
    wrong = seed == 7
    name = f"gather:gfx942:e4m3fnuz:bs16:tokens=33,scale=ue8m0:tagged:s{seed}"
    check = Check(
        name="bytes",
        kind="gate",
        passed=not wrong,
        statistic=1289.0 if wrong else 0.0,
        limit=0.0,
        reason="every byte is defined",
        detail="1289 of 4224 bytes differ; found 0x3f, largest 3.50" if wrong else "no byte differs",
        coordinate=PLACE if wrong else None,
    )
    fields: dict[str, Any] = {
        "run_id": "r1",
        "case": name,
        "op": "gather",
        "arch": "gfx942",
        "fp8": "e4m3fnuz",
        "block_size": 16,
        "params": {"tokens": 33, "scale": "ue8m0"},
        "recipe": "tagged",
        "seed": seed,
        "provider": "rocassay",
        "engine": "interpreter",
        "tier": "quick",
        "status": Status.FAILED if wrong else Status.PASSED,
        "checks": (check,),
        "timings": {"inputs": 0.0021, "run": 0.001 * (seed + 1)},
        "launches": ("_gather_kernel",),
        "digest": "9b810e766ec9d286",
        "repro": f"rocassay repro '{name}' --engine interpreter",
        "first_wrong": PLACE if wrong else None,
        "picture": PICTURE if wrong else None,
    }
    return CaseRecord(**{**fields, **changes})


PICTURE = Picture(
    output="kv_cache",
    measure="share of bytes that differ",
    rows=Axis(name="token", extent=64, group=16, group_name="page", tile=16),
    columns=Axis(name="byte", extent=132, step=4, tile=16),
    levels=(0.25, 0.5, 0.75),
    limit=0.0,
    cells=("33.",) * 17 + ("4.28d.",) * 3 + ("33.",) * 12 + ("abcd!-27.",) + ("33.",) * 15,
    worst=None,
    worst_cell=(32, 4),
)


def report() -> Assay:
    records = [record(seed) for seed in range(450)] + [record(7, fault="swap")]
    header = RunHeader(
        run_id="r1",
        started="2025-01-01T00:00:00Z",
        command="rocassay run",
        tier="quick",
        provider="rocassay",
        engine="interpreter",
        planned=450,
    )
    return Assay(Path("results.jsonl"), [header], records)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return html.write(report(), tmp_path_factory.mktemp("page") / "report.html").as_uri()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine: the page was NOT looked at; install the package chromium")
    reason = "playwright is not installed: the page was NOT looked at; install rocassay[test]"
    api = pytest.importorskip("playwright.sync_api", reason=reason)
    with api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(offline=True, color_scheme=request.param, viewport={"width": 800, "height": 900})
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith("file:") or complaints.append(asked.url))
    yield page
    context.close()
    assert complaints == []


def opened(page: Any, address: str, fragment: str = "") -> Any:
    page.goto("about:blank")
    page.goto(address + fragment)
    page.wait_for_selector("html[data-ready]", state="attached", timeout=5000)
    return page


def test_the_worst_case_comes_first_and_rows_come_in_pages(page: Any, address: str) -> None:
    opened(page, address)
    assert page.locator("#rows tr").count() == 100
    assert page.locator("#rows tr").first.locator("button").inner_text() == "failed"
    page.locator("#more").click()
    assert page.locator("#shown").inner_text() == "first 200 of 450 records"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_all_words_of_the_filter_must_match_and_the_address_keeps_them(page: Any, address: str) -> None:
    opened(page, address)
    page.fill("#q", "gfx942 :s44 PASSED")
    assert page.locator("#shown").inner_text() == "11 records"
    assert "q=gfx942" in page.url
    opened(page, page.url)
    assert page.locator("#shown").inner_text() == "11 records"


def test_a_map_cell_selects_its_cases_and_no_drill(page: Any, address: str) -> None:
    opened(page, address)
    page.locator("a.cell").first.click()
    assert page.locator("#shown").inner_text() == "first 100 of 450 records"
    assert page.locator("#q").input_value() == "^gather:gfx942:e4m3fnuz:bs16:"


def test_columns_sort_by_keyboard_and_say_so(page: Any, address: str) -> None:
    opened(page, address)
    header = page.locator("[data-key=params] button")
    header.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert page.locator("[aria-sort]").get_attribute("data-key") == "params"
    assert page.locator("[aria-sort]").get_attribute("aria-sort") == "descending"


def test_an_opened_row_repeats_the_record(page: Any, address: str) -> None:
    opened(page, address, "#status=failed&kind=case")
    wanted = report().records[7]
    text = page.locator("tr.detail").inner_text()
    assert wanted.repro in text
    assert wanted.case in text
    assert "1289 of 4224 bytes differ; found 0x3f, largest 3.50" in text
    assert str(PLACE) in text
    assert "10 ms in all: inputs 2.1 ms · run 8 ms" in text
    page.locator("#rows button[aria-expanded=true]").press("Enter")
    assert page.locator("tr.detail").count() == 0


def test_a_red_drill_counts_as_wanted(page: Any, address: str) -> None:
    opened(page, address, "#kind=drill&status=red")
    assert page.locator("#rows tr").count() == 0
    opened(page, address, "#kind=drill")
    assert page.locator("#rows tr").first.get_attribute("class") == "wanted"


def test_verdict_map_and_drills_are_readable_without_javascript(chromium: Any, address: str) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.emulate_media(media="print")  # on the screen, what is scrolled away has no layout and so no text
    page.goto(address)
    text = page.locator("body").inner_text()
    context.close()
    assert "FAIL" in text
    assert "differs" in text
    assert "The case table needs JavaScript" in text
    assert report().records[7].repro in text


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)> \" ' \x1b[31m \u202egnp " + "x" * 1_000_000


def evaluated() -> Assay:
    """Two configurations; a fault that breaks the answers, hostile ones, and one that changes none."""
    dead = evaluation("+" * 4 + "-" * 36, "swap", verdict={"interval": (0.2, 0.4), "stopped_after": 40})
    dead.questions["q0004"] = question("swap40", 4, "-", gold=HOSTILE, strict=HOSTILE, text=HOSTILE)
    dead.questions["q0005"] = question("swap40", 5, "!", error=HOSTILE)
    same = evaluation("+" * 40, "quiet", status="blind", verdict={"reason": HOSTILE})
    healthy, other = evaluation("+" * 40), evaluation("+" * 40, block_size=64, run_id="other")
    drills = (drill_case("swap"), drill_case("quiet", "cp_gather_indexer_k_quant_cache"))
    return assay_of(healthy, dead, same, other, records=drills)


@pytest.fixture(scope="module")
def accuracy_address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return html.write(evaluated(), tmp_path_factory.mktemp("page") / "accuracy.html").as_uri()


MIDDLES = """selector => [...document.querySelectorAll(selector)].map(node => {
  const box = node.getBoundingClientRect();
  return [box.left, (box.left + box.right) / 2, box.right];
})"""


def test_on_the_screen_an_interval_lies_under_the_numbers_of_its_axis(page: Any, accuracy_address: str) -> None:
    opened(page, accuracy_address)
    ticks = [middle for _, middle, _ in page.evaluate(MIDDLES, ".forest.axis text")]
    zero, one = ticks[0], ticks[-1]
    (interval, *_) = page.evaluate(MIDDLES, "tr .forest.faulted .interval")
    (point, *_) = page.evaluate(MIDDLES, "tr .forest.faulted .point")
    stroke = 2  # a round cap beyond each end
    assert interval[0] == pytest.approx(zero + 0.2 * (one - zero), abs=stroke)
    assert interval[2] == pytest.approx(zero + 0.4 * (one - zero), abs=stroke)
    assert point[1] == pytest.approx(zero + 0.1 * (one - zero), abs=1)


def test_hostile_answers_do_nothing_and_details_open_by_keyboard(page: Any, accuracy_address: str) -> None:
    opened(page, accuracy_address)
    assert page.locator("img").count() == 0
    summary = page.locator(".blames summary").first
    assert summary.inner_text() == "36 questions flipped: 36 lost, 0 gained"
    assert not page.locator("table.flips").first.is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    text = page.locator("table.flips").first.inner_text()
    assert "</script><script>alert(1)</script><img src=x onerror=alert(1" in text
    assert "no answer: </script>" in text
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_kernel_beside_broken_answers_leads_to_its_cases(page: Any, accuracy_address: str) -> None:
    opened(page, accuracy_address)
    page.locator(".kernel a", has_text="gather").first.click()
    assert page.locator("#shown").inner_text() == "1 record"
    assert "fault swap" in page.locator("#rows tr").first.inner_text()


def test_a_page_of_evaluations_only_works_without_a_case_table(page: Any, tmp_path: Path) -> None:
    only = assay_of(evaluation("+" * 40), evaluation("-" * 40, "swap"))
    opened(page, html.write(only, tmp_path / "only.html").as_uri())
    page.locator(".evaluations summary").first.click()
    page.locator(".evaluations .copy").first.click()
    page.locator(".evaluations .copy", has_text="Copied").wait_for(timeout=5000)
    assert page.evaluate("String(getSelection())") == "rocassay gsm8k --run healthy40"


def test_accuracy_is_readable_without_javascript_and_fits_a_printed_page(chromium: Any, accuracy_address: str) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 794, "height": 1123})
    page = context.new_page()
    page.emulate_media(media="print")
    page.goto(accuracy_address)
    text = page.locator("#accuracy").inner_text()
    edges = [page.locator(f"table.{name}").first.bounding_box() for name in ("evaluations", "blames")]
    context.close()
    assert "1.0000 → 0.1000" in text
    assert "Both see it." in text
    assert "Accuracy is blind to it: the same 40 of 40 questions are right." in text
    assert all(edge["x"] + edge["width"] <= 794 for edge in edges)


def compared() -> str:
    """Every part of the page at once: a worse head, a base, trends, drills, evaluations, pictures, odd texts."""
    z = Check(name="max-z", kind="gate", passed=True, statistic=3.0, limit=7.1, metrics={"rms_z": 1.0})
    worse = z.model_copy(update={"statistic": 6.5, "metrics": {"rms_z": 2.1}})
    odd = record(900, status=Status.CRASHED, reason=HOSTILE, repro=HOSTILE, checks=(), case=HOSTILE)
    states = [record(901 + n, status=status, reason="why") for n, status in enumerate(Status)]
    drills = [record(7, fault="swap"), record(3, fault="blind-one", status=Status.BLIND, reason="no power")]
    evaluations = {e.header.run_id: e for e in evaluated().evaluations.values()}
    header = report().headers[0].model_copy(update={"drills": ("swap", "blind-one", "never")})
    rounded = [record(20 + n, op="logits", checks=(worse,), block_size=64) for n in range(5)]
    head = Assay(Path("head.jsonl"), [header], [record(7), odd, *states, *rounded, *drills], [], evaluations)
    before = [record(20 + n, op="logits", checks=(z,), block_size=64) for n in range(5)]
    base = Assay(Path("base.jsonl"), [header], [record(7, status=Status.PASSED, picture=None), record(8), *before])
    points = tuple((f"2026-01-{day:02}T00:00:00Z", 1.0 + (day > 9), f"c{day}") for day in range(1, 15))
    return html.render(head, base, [html.Trend("logits", points, 9, "ms"), html.Trend(HOSTILE, points[:3])])


@pytest.fixture(scope="module")
def whole_address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "whole.html"
    path.write_text(compared(), encoding="utf-8")
    return path.as_uri()


OPEN_ALL = "document.querySelectorAll('details').forEach(part => { part.open = true; })"


def test_nothing_on_the_page_bars_anybody(page: Any, whole_address: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="install rocassay[test]").Axe()
    opened(page, whole_address, "#status=failed&kind=case")
    page.evaluate(OPEN_ALL)
    page.add_style_tag(content="* { content-visibility: visible !important; }")
    page.locator("#rows button").first.press("Enter")
    found = axe.run(page).response["violations"]
    assert [(rule["id"], [node["target"] for node in rule["nodes"]]) for rule in found] == []


def test_hostile_texts_of_every_part_do_nothing_and_stay_inside_the_page(page: Any, whole_address: str) -> None:
    opened(page, whole_address)
    page.evaluate(OPEN_ALL)
    page.add_style_tag(content="* { content-visibility: visible !important; }")
    assert page.locator("img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown = page.locator("body").inner_text()
    assert "</script><script>alert(1)</script><img src=x onerror=alert(1)>" in shown
    assert "\\x1b[31m \\u202egnp" in shown
    assert "… (1,000,0" in shown
    assert len(shown) < 150_000


def test_the_page_is_read_with_the_keyboard_alone(page: Any, address: str) -> None:
    opened(page, address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the case table"
    page.keyboard.press("Enter")
    press_until(page, "document.activeElement.id === 'q'")
    page.keyboard.type(":s7 failed")
    assert page.locator("#shown").inner_text() == "1 record"
    press_until(page, "document.activeElement.closest('#rows') !== null")
    page.keyboard.press("Enter")
    assert page.locator("tr.detail .heat").is_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "copy"


def press_until(page: Any, there: str) -> None:
    """Press Tab until the focus is there."""
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate(there):
            return
    pytest.fail(f"20 tabs do not lead to where {there}")


def test_an_opened_failure_shows_where_it_is_wrong(page: Any, address: str) -> None:
    opened(page, address, "#status=failed&kind=case")
    drawing = page.locator("tr.detail .heat svg").first
    cell = page.evaluate(MIDDLES, "tr.detail .heat .worst")[0]
    frame = page.evaluate(MIDDLES, "tr.detail .heat .frame")[0]
    assert cell[1] == pytest.approx(frame[0] + (frame[2] - frame[0]) * 4.5 / 33, abs=1)
    assert drawing.get_attribute("aria-label").endswith("worst cell: token 32, bytes 16 to 19: no finite value")
    assert "tile 0, 1 (of 16 tokens × 16 bytes)" in page.locator("tr.detail").inner_text()


LIGHTNESS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  return ["ok1", "ok2", "ok3", "bad1", "bad2", "bad3", "bad4", "bad5"].map(shade => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", shade);
    document.querySelector(".heat g").append(path);
    canvas.fillStyle = getComputedStyle(path).stroke;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data;
    return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
  });
}"""


def test_the_levels_of_a_picture_differ_in_lightness_in_the_order_of_the_error(page: Any, whole_address: str) -> None:
    opened(page, whole_address)
    within, beyond = (page.evaluate(LIGHTNESS)[part] for part in (slice(0, 3), slice(3, 8)))
    on_white = within[0] > 0.5
    assert within == sorted(within, reverse=on_white)
    assert beyond == sorted(beyond, reverse=on_white)
    assert all(abs(a - b) > 0.04 for a, b in itertools.pairwise(beyond))


def test_a_link_to_a_changed_case_opens_it(page: Any, whole_address: str) -> None:
    opened(page, whole_address)
    page.locator("#changes a.id", has_text=":s7").first.click()
    assert page.locator("#shown").inner_text() == "1 record"
    assert page.locator("tr.detail .heat").count() == 1


def test_the_embedded_records_can_be_saved(page: Any, address: str) -> None:
    opened(page, address)
    with page.expect_download() as download:
        page.locator("#json").click()
    assert len(json.loads(Path(download.value.path()).read_text())["rows"]) == 451


def test_changes_strips_and_trends_are_readable_without_javascript_and_fit_a_printed_page(
    chromium: Any, whole_address: str
) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 794, "height": 1123})
    page = context.new_page()
    page.emulate_media(media="print")
    page.goto(whole_address)
    text = page.locator("main").inner_text()
    drawn = page.locator("header .heat svg").first.bounding_box()
    context.close()
    assert "new failures in gather" in text
    assert "step from 1 to 2 ms with c10 on 2026-01-10" in text
    assert "2.17× the base" in text
    assert drawn["x"] + drawn["width"] <= 794
