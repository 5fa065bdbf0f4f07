"""What every dispatch table returns, and the error of a request that no row takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rocassay.harness.arch import RocassayError


class DispatchError(RocassayError, ValueError):
    """A request that the tables refuse, as vLLM or AITER would."""


class Decision(Protocol):
    """The decision of a table: frozen, and it names the row that decided."""

    @property
    def row(self) -> str:
        """Table row, such as "L2"."""
        ...

    @property
    def path(self) -> str:
        """Implementation or setting that was chosen."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision without arguments."""

    row: str
    """Table row that decided."""

    path: str
    """Implementation or setting that was chosen."""
