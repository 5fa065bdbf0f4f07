"""What an exhibit's two runs show, and the pages that say so: the index, and docs/gallery.md."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2

from rocassay.harness.errors import RocassayError
from rocassay.harness.faults import fault_named
from rocassay.harness.results import GREEN, Assay, CaseRecord, read
from rocassay.reports import diff, html
from rocassay.reports.html.pattern import in_common
from rocassay.reports.markdown import diff_markdown
from rocassay.suites.gallery.exhibits import EXHIBITS, Exhibit
from rocassay.suites.gallery.runs import BASE, HEAD, MODULE

REPORT, DIFF, INDEX = "report.html", "diff.md", "index.html"
ROWS = 10
"""Rows of a table of `diff.md`, as `rocassay report diff` prints them."""

QUOTED = "idx-shuffle-at-bs1"
"""The exhibit whose diff docs/gallery.md quotes."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One exhibit with what its runs gave."""

    exhibit: Exhibit
    reference: str
    """Where it really happened, as the catalogue of faults has it."""
    cases: int
    red_before: int
    red_after: int
    checks: tuple[str, ...]
    """Names of the gates and probes that turned red, most frequent first."""
    in_common: str
    """What the page says of the red cases; empty for fewer than two."""
    first: CaseRecord | None
    """The first red case with a wrong place, in the order in which they ran."""

    @property
    def turned_red(self) -> str:
        """One sentence on what a run gave."""
        names = ", ".join(f"`{name}`" for name in self.checks)
        before = "none" if not self.red_before else f"{self.red_before}"
        return f"{before} of {self.cases} cases red before, {self.red_after} after, by {names}"


def shown(exhibit: Exhibit, base: Assay, head: Assay) -> Shown:
    """The facts of an exhibit's two runs."""
    red = [record for record in head.cases if record.status not in GREEN]
    counts: dict[str, int] = {}
    for check in (check for record in red for check in record.checks if not check.passed):
        counts[check.name] = counts.get(check.name, 0) + 1
    return Shown(
        exhibit,
        fault_named(exhibit.fault).reference,
        len(head.cases),
        sum(record.status not in GREEN for record in base.cases),
        len(red),
        tuple(sorted(counts, key=lambda name: (-counts[name], name))),
        in_common(head),
        next((record for record in red if record.first_wrong), None),
    )


def write(folder: Path, base: Assay, head: Assay) -> None:
    """Write the report and the diff of an exhibit."""
    html.write(head, folder / REPORT, base)
    (folder / DIFF).write_text(diff_markdown(diff.compare(base, head), limit=ROWS), encoding="utf-8")


def there(out: Path) -> list[Shown]:
    """Every exhibit whose two runs lie in the folder."""
    found = [exhibit for exhibit in EXHIBITS if all((out / exhibit.fault / name).is_file() for name in (BASE, HEAD))]
    return [shown(e, read(out / e.fault / BASE), read(out / e.fault / HEAD)) for e in found]


def write_index(out: Path) -> Path:
    """Write the page that links every exhibit in the folder."""
    source = resources.files(__package__ or "").joinpath("index.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    names = {"report": REPORT, "diff": DIFF, "base": BASE, "head": HEAD}
    page = environment.from_string(source).render(exhibits=there(out), module=MODULE, **names)
    (out / INDEX).write_text(page, encoding="utf-8")
    return out / INDEX


def section(one: Shown) -> str:
    """What docs/gallery.md says of an exhibit."""
    fault = one.exhibit.fault
    lines = [f"## {fault}", "", f"{one.reference}. {one.exhibit.upstream}", ""]
    lines += [f"{one.turned_red[0].upper()}{one.turned_red[1:]}. {one.in_common}".strip(), "", one.exhibit.look, ""]
    if one.first:
        lines += [f"First wrong: `{one.first.first_wrong}` in", "", "```sh", one.first.repro, "```", ""]
    return "\n".join([*lines, "```sh", f"{MODULE} --out gallery {fault}", "```", ""])


def write_document(out: Path, path: Path) -> None:
    """Write docs/gallery.md from the runs in the folder; RocassayError names the exhibits that lack them."""
    found = there(out)
    if missing := {exhibit.fault for exhibit in EXHIBITS} - {one.exhibit.fault for one in found}:
        raise RocassayError(f"{path} needs every exhibit; {out} lacks {', '.join(sorted(missing))}: run without names")
    source = resources.files(__package__ or "").joinpath("gallery.md.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(keep_trailing_newline=True)  # noqa: S701  Markdown of our own
    text = environment.from_string(source).render(
        module=MODULE,
        quoted=QUOTED,
        diff=(out / QUOTED / DIFF).read_text(encoding="utf-8").strip(),
        sections="\n".join(map(section, found)).rstrip(),
    )
    path.write_text(text, encoding="utf-8")
