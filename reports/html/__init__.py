"""The reviewer's page: one offline HTML document, a pure function of `results.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from rocassay.harness.errors import RocassayError
from rocassay.harness.results import Assay
from rocassay.reports.html.model import page
from rocassay.reports.html.rows import script_json
from rocassay.reports.html.trends import Trend
from rocassay.reports.html.words import LONGEST, duration, number, plain, points, share, shortened

__all__ = ["ReportError", "Trend", "render", "write"]


class ReportError(RocassayError):
    """The page cannot be written."""


def render(assay: Assay, base: Assay | None = None, trends: Sequence[Trend] = ()) -> str:
    """The whole document; it needs no network, no other file and, up to the case table, no JavaScript.

    base: the run to compare with. trends: what a history says of earlier runs.
    """
    return _environment().get_template("page.html.j2").render(page=page(assay, base, trends))


def write(assay: Assay, path: Path, base: Assay | None = None, trends: Sequence[Trend] = ()) -> Path:
    """Write the page to `path`, creating its folder; ReportError when the place cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(assay, base, trends), encoding="utf-8")
    except OSError as error:
        raise ReportError(f"cannot write {path}: {error.strerror}; choose another place for the report") from error
    return path


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        finalize=_visible,
        loader=jinja2.FunctionLoader(_template),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    filters: dict[str, Any] = {
        "script_json": _markup_json, "share": share, "points": _points, "number": _number, "duration": duration,
        "path": _path,
    }  # fmt: skip
    environment.filters |= filters  # pyright: ignore[reportUnknownMemberType]
    return environment


def _markup_json(value: object) -> Markup:
    return Markup(script_json(value))  # noqa: S704  `<` is escaped


def _path(strokes: str) -> Markup:
    """Coordinates that this package made; they may be longer than a text is shown."""
    return Markup(strokes)  # noqa: S704  letters and digits only


def _number(value: float | None) -> str:
    return "–" if value is None else number(value)


def _points(drop: float | None) -> str:
    return "–" if drop is None else points(drop).removesuffix(" points")


def _template(name: str) -> str | None:
    file = resources.files("rocassay.reports.html") / "templates" / name
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _visible(value: Any) -> Any:
    """Foreign text, no longer than a page bears, with its control and bidirectional characters spelled out."""
    return plain(shortened(value, LONGEST)) if type(value) is str else value
