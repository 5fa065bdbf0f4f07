"""How large and how fast the page of 20 000 cases is: `python -m rocassay.suites.selftest.bigpage`.

Records as varied as a run's: 36 ops, both chips and flavours, seven page sizes, fourteen checks each with numbers of
their own, one case in 200 red with a picture. Where Chromium is, the page is opened three times and the medians are
told: time from navigation to the first row on the screen, and from a key in the filter to the filtered table.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from rocassay.harness.results import (
    Assay,
    Axis,
    CaseRecord,
    Check,
    Coordinate,
    Picture,
    RunEnd,
    RunHeader,
    Status,
)
from rocassay.reports import html

CASES = 20_000
ROUNDS = 3
RED_EVERY = 200
BLOCK_SIZES = (1, 2, 16, 64, 128, 256, 1024)
VERSIONS = {"python": "3.11.7", "torch": "2.13.0+cpu", "triton": "3.9.0", "numpy": "2.4.6"}

BROWSER = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")

ROW = """() => new Promise(done => {
  const tell = () => done(performance.now());
  const seen = () => document.querySelector("#rows tr") ? requestAnimationFrame(tell) : setTimeout(seen, 1);
  seen();
})"""

FILTER = """word => new Promise(done => {
  const box = document.getElementById("q"), start = performance.now();
  box.value = word;
  box.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})"""


def _probe(name: str, why: str, detail: str) -> Check:
    return Check(name=name, kind="probe", passed=True, statistic=0.0, limit=0.0, reason=why, detail=detail)


PROBES = tuple(
    _probe(
        name, f"why the probe {name} has this limit, in a sentence as long as such a sentence is", f"{name} is intact"
    )
    for name in ("bounds", "canary", "inputs", "host-sync", "allocations", "strides", "poison", "replay")
)


def _gate(name: str, statistic: float, limit: float, detail: str, **more: Any) -> Check:
    more |= {"passed": statistic <= limit, "detail": detail}
    why = f"why the gate {name} has its limit, derived once for every op, shape, arch and flavour"
    held = statistic <= limit
    fields = {"passed": held, "statistic": statistic, "limit": limit, "reason": why, "detail": detail}
    return Check(name=name, kind="gate", **{**fields, **more})


def _checks(draw: random.Random, red: bool, elements: int) -> tuple[Check, ...]:
    z = draw.gauss(4.2, 0.4) * (40 if red else 1)
    bound, row, rms = z / 9, draw.gauss(2.0, 0.8), draw.gauss(0.95, 0.03)
    place = Coordinate(output="out", index=(3, 16), block=5, token=3, byte=16, offset=64) if red else None
    return (
        _gate("nonfinite", 0.0, 0.0, "positions of non-finite values agree"),
        _gate("bound", bound, 1.0, f"error is {bound:.3g} of the hard bound", coordinate=place),
        _gate("max-z", z, 7.1, f"largest |z| is {z:.3g}", metrics={"rms_z": rms, "mean_z": draw.gauss(0, 0.01)}),
        _gate("worst-row", row, 12.0, f"worst row {draw.randrange(40)}: t = {row:.3g}, rms z = {rms:.3g}"),
        *PROBES,
        _gate("peer", rms, 1.15, f"peer rms z {rms:.3g} over {elements} elements"),
    )


def _picture(draw: random.Random) -> Picture:
    lines = ["".join(draw.choice("..bcdd") for _ in range(64)) for _ in range(48)]
    return Picture(
        output="out",
        measure="largest error in units of its limit",
        rows=Axis(name="token", extent=96, step=2, group=16, group_name="page", tile=16),
        columns=Axis(name="dim", extent=128, step=2, tile=16),
        levels=(0.3, 1.0, 10.0, 100.0),
        limit=1.0,
        cells=tuple(lines),
        worst=37.5,
        worst_cell=(3, 9),
    )


def _record(draw: random.Random, number: int) -> CaseRecord:
    op, red = f"operation_number_{number % 36}", number % RED_EVERY == 7
    arch, fp8 = draw.choice(("gfx942", "gfx950")), draw.choice(("e4m3fn", "e4m3fnuz"))
    size, elements = draw.choice(BLOCK_SIZES), draw.randrange(1000, 300_000)
    params: dict[str, int | str] = {
        "tokens": draw.randrange(1, 300),
        "heads": draw.choice((16, 64, 128)),
        "lengths": draw.choice(("edges", "ragged", "one")),
        "path": draw.choice(("auto", "split", "single")),
    }
    axes = ",".join(f"{name}={value}" for name, value in params.items())
    case = f"{op}:{arch}:{fp8}:bs{size}:{axes}:padded:s{number}"
    checks = _checks(draw, red, elements)
    return CaseRecord(
        run_id="big", case=case, op=op, arch=arch, fp8=fp8, block_size=size, params=params, recipe="padded",
        seed=number, provider="rocassay", engine="interpreter", tier="full",
        status=Status.FAILED if red else Status.PASSED,
        reason=f"bound: {checks[1].detail} at {checks[1].coordinate}" if red else "", checks=checks,
        first_wrong=checks[1].coordinate, picture=_picture(draw) if red else None,
        timings={phase: draw.expovariate(30) for phase in ("inputs", "golden", "peer", "run", "judge")},
        counts={"launches": 2, "programs": draw.randrange(500), "elements": elements},
        launches=(f"_{op}_partial_kernel", f"_{op}_reduce_kernel"), digest=f"{draw.getrandbits(64):016x}",
        versions=VERSIONS, device="cpu", commit="47506b96196a", repro=f"rocassay repro '{case}' --engine interpreter",
    )  # fmt: skip


def assay(cases: int = CASES, seed: int = 0) -> Assay:
    """A run of this many made-up cases; the same for the same seed."""
    draw = random.Random(seed)  # noqa: S311  not for secrets
    head = RunHeader(
        run_id="big", started="2026-01-01T00:00:00Z", command="rocassay run --tier full", tier="full",
        provider="rocassay", engine="interpreter", planned=cases,
    )  # fmt: skip
    end = RunEnd(run_id="big", finished="2026-01-01T00:09:08Z", seconds=548.0)
    return Assay(Path("results.jsonl"), [head], [_record(draw, number) for number in range(cases)], [end])


@contextmanager
def _chromium() -> Iterator[Any]:
    """A browser, or None where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        found = None
    if found is None:
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(BROWSER))
        yield browser
        browser.close()


def measured(browser: Any, address: str, words: tuple[str, ...]) -> dict[str, float]:
    """Milliseconds to the first row, and for each word that is typed into the filter."""
    page = browser.new_page()
    page.goto(address, wait_until="commit")
    found = {"first row": float(page.evaluate(ROW))}
    for word in words:
        found[f"filter {word!r}"] = float(page.evaluate(FILTER, word))
    page.close()
    return found


def _tell(console: Console, browser: Any, address: str) -> None:
    words = ("gfx950", "gfx950 bs64 ragged", "nothing-has-this")
    runs = [measured(browser, address, words) for _ in range(ROUNDS)]
    for name in runs[0]:
        console.print(f"{name}: {statistics.median(run[name] for run in runs):.0f} ms", highlight=False)


def main() -> None:
    """Write the page, measure it and say what it showed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--out", type=Path, help="keep the page here")
    asked, console = parser.parse_args(), Console()
    with tempfile.TemporaryDirectory() as folder:
        made = assay(asked.cases)
        start = time.perf_counter()
        page = html.write(made, (asked.out or Path(folder) / "report.html").absolute())
        seconds, size = time.perf_counter() - start, page.stat().st_size
        console.print(f"{asked.cases} cases: {size / 1e6:.2f} MB, written in {seconds:.1f} s", highlight=False)
        with _chromium() as browser:
            if browser is None:
                console.print("no Chromium or no playwright here: the page was not opened")
            else:
                _tell(console, browser, page.as_uri())


if __name__ == "__main__":
    main()
