"""The reviewer's page in a real browser: offline, keyboard, deep links, what an opened row says."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.results import Assay, CaseRecord, Check, Coordinate, RunHeader, Status
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
    }
    return CaseRecord(**{**fields, **changes})


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
