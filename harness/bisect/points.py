"""The points between a good end and a bad one, in order, and what stands for each of them in a command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rocassay.harness.bisect.errors import BisectError


@dataclass(frozen=True, slots=True)
class Point:
    """One commit, version, wheel or folder."""

    name: str
    """Full hash of a commit; otherwise the version or path."""
    subject: str = ""
    """First line of the commit's message."""
    author: str = ""
    """Who wrote the commit."""
    date: str = ""
    """When, as ISO 8601."""

    def __str__(self) -> str:
        return f"{self.name[:12]} {self.subject}" if self.subject else self.name


class History(Protocol):
    """Points from the good end to the bad one; `at` makes one of them ready to be judged."""

    @property
    def points(self) -> tuple[Point, ...]:
        """Two or more: the first is the good end, the last the bad one."""
        ...

    def at(self, point: Point) -> Path | str:
        """What stands for the point: a folder or file, or the name of a version.

        Only the latest answer is valid. Raises CannotJudge when this point cannot be made ready.
        """
        ...

    def recipe(self, point: Point) -> tuple[str, str]:
        """For a shell: a line that makes the point ready, empty if it is, and what then stands for it."""
        ...

    def close(self) -> None:
        """Remove what `at` made."""
        ...


class Versions:
    """Versions, wheels or folders in the order in which they were given."""

    def __init__(self, names: Sequence[str], good: str = "", bad: str = "") -> None:
        """Those from `good` to `bad`, which are the first and the last unless given.

        Raises BisectError when a name occurs twice, an end is not among them, or the ends stand in the wrong order.
        """
        twice = [name for name in names if names.count(name) > 1]
        if twice or len(names) < 2:
            what = f"{twice[0]} stands twice in --versions" if twice else f"--versions names {len(names)}"
            raise BisectError(f"{what}; name two or more different ones, from the good end to the bad one")
        first = _place(names, good or names[0], "--good")
        last = _place(names, bad or names[-1], "--bad")
        if first >= last:
            raise BisectError(
                f"the good end {names[first]} does not come before the bad end {names[last]} in --versions; "
                "list them from the good end to the bad one"
            )
        self._points = tuple(Point(_absolute(name)) for name in names[first : last + 1])

    @property
    def points(self) -> tuple[Point, ...]:
        """The versions from the good end to the bad one."""
        return self._points

    def at(self, point: Point) -> str:
        """The name itself."""
        return point.name

    def recipe(self, point: Point) -> tuple[str, str]:
        """Nothing to make ready."""
        return "", shlex.quote(point.name)

    def close(self) -> None:
        """Nothing to remove."""


def _place(names: Sequence[str], name: str, option: str) -> int:
    if name not in names:
        raise BisectError(f"{option} {name} is not among the {len(names)} of --versions, such as {names[0]}; name one")
    return names.index(name)


def _absolute(name: str) -> str:
    """A path as it is from anywhere; a version as it is."""
    path = Path(name)
    return str(path.resolve()) if path.exists() else name
