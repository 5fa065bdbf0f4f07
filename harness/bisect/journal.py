"""The journal of a bisection: what was asked, then every verdict and answer as it comes, one JSON object a line.

A bisection does the same thing again when it gets the same answers. So the journal is all that is needed to go on: the
search starts anew, and what the journal knows is not judged a second time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from rocassay.harness.bisect.errors import BisectError
from rocassay.harness.bisect.verdicts import Verdict
from rocassay.harness.results import ResultsWriter, move_aside, set_aside_cut_tail
from rocassay.harness.results.schema import Model

FILE = "bisect.jsonl"


class Asked(Model):
    """The first line: what a bisection is about. A journal is only continued by the same one."""

    kind: Literal["bisect"] = "bisect"
    """Discriminator of the line."""
    schema_version: int = 1
    """Version of these lines."""
    points: tuple[str, ...]
    """Names of all points, from the good end to the bad one."""
    oracle: dict[str, str]
    """What judges, by option."""


class Verdicts(Model):
    """What was said of a point."""

    kind: Literal["verdict"] = "verdict"
    """Discriminator of the line."""
    place: int
    """Of the point, from 0."""
    point: str
    """Its name."""
    verdict: Verdict
    """What was said."""
    reason: str = ""
    """Why."""
    cases: dict[str, str] = Field(default_factory=dict)
    """Status of every case that was judged."""
    repro: str = ""
    """Shell line that shows what is red at {point}."""
    seconds: float = 0.0
    """Wall time of judging."""


class Answer(Model):
    """One answered question at a point."""

    kind: Literal["answer"] = "answer"
    """Discriminator of the line."""
    place: int
    """Of the point, from 0."""
    id: str
    """Of the question."""
    correct: bool
    """Whether it was answered right."""


class Visit(Model):
    """What one sequential test said of a point, and what was then believed."""

    kind: Literal["visit"] = "visit"
    """Discriminator of the line."""
    place: int
    """Of the point, from 0."""
    point: str
    """Its name."""
    decision: Literal["fail", "pass", "undecided"]
    """What the test said."""
    questions: int
    """Answers that it took."""
    wrong: int
    """Wrong ones among them."""
    likeliest: int
    """Place of the first bad point by the posterior; the number of points for `none`."""
    posterior: float
    """Its probability."""


Line = Annotated[Asked | Verdicts | Answer | Visit, Field(discriminator="kind")]
_LINE: TypeAdapter[Asked | Verdicts | Answer | Visit] = TypeAdapter(Line)


class Journal:
    """The file, and what an earlier part of the same bisection wrote into it."""

    def __init__(self, folder: Path, asked: Asked, *, resume: bool) -> None:
        """Begin a journal in `folder`, or with `resume` continue the one there.

        An older journal is moved aside. Raises BisectError when the one to be continued is of another bisection.
        """
        path = folder / FILE
        set_aside_cut_tail(path)
        earlier = _read(path) if resume and path.exists() else []
        if earlier:
            _check(path, earlier[0], asked)
        else:
            move_aside(path)
        self.path = path
        self.verdicts = {line.place: line for line in earlier if isinstance(line, Verdicts)}
        self.answers = [line for line in earlier if isinstance(line, Answer)]
        self._seen = sum(isinstance(line, Visit) for line in earlier)
        self._writer = ResultsWriter(path, "rocassay bisect --resume")
        if not earlier:
            self._writer.append(asked)

    def judged(self, line: Verdicts) -> None:
        """Add a verdict."""
        self.verdicts[line.place] = line
        self._writer.append(line)

    def answered(self, line: Answer) -> None:
        """Add an answer."""
        self._writer.append(line)

    def visited(self, line: Visit) -> None:
        """Add what a test said, unless the search is only repeating what the journal holds."""
        if self._seen:
            self._seen -= 1
        else:
            self._writer.append(line)

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def _read(path: Path) -> list[Asked | Verdicts | Answer | Visit]:
    lines = [text for text in path.read_text(encoding="utf-8").splitlines() if text.strip()]
    try:
        return [_LINE.validate_json(text) for text in lines]
    except ValidationError as error:
        raise BisectError(
            f"{path} is no journal of a bisection: {error.errors()[0]['msg']}; use another --out"
        ) from error


def _check(path: Path, there: object, here: Asked) -> None:
    if not isinstance(there, Asked):
        raise BisectError(f"{path} does not begin with what was asked; use another --out")
    differences = [
        f"{name}: {here.oracle.get(name, '')!r} here, {there.oracle.get(name, '')!r} there"
        for name in sorted({*here.oracle, *there.oracle})
        if here.oracle.get(name) != there.oracle.get(name)
    ]
    if here.points != there.points:
        differences.append(f"{len(here.points)} points here, {len(there.points)} there, or others")
    if differences:
        raise BisectError(
            f"{path} is of another bisection: {'; '.join(differences)}; use the same settings or another --out"
        )
