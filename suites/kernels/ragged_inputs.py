"""What the ragged builders' suites share: sentinels, strides, partly defined buffers.

Recipes: `tagged` (contiguous), `padded` (every stride that the contract leaves free is padded, those of vectors each in
its own way) and `wide` (the last row of every matrix lies beyond 2^31 elements).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.cases import Case, MalformedCase
from rocassay.harness.gates import Deviation, ExactBytes, Verdict
from rocassay.harness.inputs import Placement
from rocassay.harness.probes import Observation
from rocassay.harness.results import Coordinate

SENTINEL = 2**30
"""What outputs hold before and what unread table columns hold: as an index it is far outside every cache."""

RECIPES = ("tagged", "padded", "wide")

WRAP = 2**31

INTEGERS = {"int16": torch.int16, "int32": torch.int32, "int64": torch.int64, "uint8": torch.uint8}

MOST_FAR = 40
"""Most rows that lie far apart, each on pages of its own."""

MOST_ENTRIES = 40_000
"""Entries of a fuzzed list."""

EDGE_WIDTHS = (1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 512, 1023, 1024, 1025, 2047, 2048, 2049)
"""Row lengths around the edges of tiles, and the top-k sizes of the models."""


def integer_type(case: Case, name: str = "dtype") -> torch.dtype:
    """The integer type that a parameter of the case names; MalformedCase for any other word."""
    word = str(case[name])
    if word not in INTEGERS:
        raise MalformedCase(f"{name}={word} of case {case} is no integer type; use one of {', '.join(INTEGERS)}")
    return INTEGERS[word]


def one_of(case: Case, name: str, words: Sequence[str]) -> str:
    """The word that a parameter of the case holds; MalformedCase unless it is one of `words`."""
    if case[name] not in words:
        raise MalformedCase(f"{name}={case[name]} of case {case} is unknown; use one of {', '.join(words)}")
    return str(case[name])


def integers(values: NDArray[np.int64], dtype: torch.dtype = torch.int32) -> torch.Tensor:
    """A contiguous tensor of the values; unlike `torch.from_numpy`, also where a dimension is 0."""
    return torch.empty(values.shape, dtype=dtype).copy_(torch.from_numpy(values))


def sentinels(*shape: int) -> torch.Tensor:
    """An int32 buffer that nobody has written."""
    return torch.full(shape, SENTINEL, dtype=torch.int32)


def strided(case: Case, tensors: Mapping[str, torch.Tensor], gap: int = 3) -> dict[str, Placement]:
    """Padded rows of matrices, gaps between the elements of vectors, or rows far apart, as the recipe says.

    Vectors get `gap` elements from one to the next, then one more each, so that none has the stride of another.
    """
    if case.recipe not in RECIPES:
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use one of {', '.join(RECIPES)}")
    if case.recipe == "tagged":
        return {}
    matrices = {name: tensor for name, tensor in tensors.items() if tensor.dim() == 2}
    if case.recipe == "wide":
        return {name: Placement((-(-WRAP // max(1, len(matrix) - 1)), 1)) for name, matrix in matrices.items()}
    vectors = [name for name, tensor in tensors.items() if tensor.dim() == 1]
    rows = {name: Placement((matrix.shape[1] + gap, 1)) for name, matrix in matrices.items()}
    return rows | {name: Placement((number,)) for number, name in enumerate(vectors, gap)}


@dataclass(frozen=True, slots=True)
class DefinedPart:
    """A buffer of which the contract defines a part: the rest may hold anything."""

    expected: torch.Tensor
    """The whole buffer."""
    visible: torch.Tensor
    """bool: the elements that are defined."""

    def judge(self, output: str, actual: torch.Tensor) -> list[Verdict]:
        """The exact gate on the defined elements."""
        return ExactBytes(self.expected).judge(output, self._defined(actual))

    def deviation(self, actual: torch.Tensor) -> Deviation:
        """Wrong bytes of the defined elements."""
        return ExactBytes(self.expected).deviation(self._defined(actual))

    def _defined(self, actual: torch.Tensor) -> torch.Tensor:
        return torch.where(self.visible, actual, self.expected)


@dataclass(frozen=True, slots=True)
class Tail:
    """The shipped kernels' own promise: behind its last entry a list stays as it was."""

    entries: str = "ragged"
    """Output that holds the list."""
    bounds: str = "indptr"
    """Output that holds its bounds."""
    name: str = "tail"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red at the first entry from the last bound on that changed."""
        reason = "a graph replays into buffers whose rest another step may own"
        if seen.provider != "rocassay":
            return Verdict(self.name, True, f"what provider {seen.provider} leaves there is its own", reason=reason)
        used = int(seen.outputs[self.bounds][-1])
        before, after = (tensors[self.entries][used:] for tensors in (seen.operands.outputs, seen.outputs))
        changed = (before != after).nonzero()
        if not len(changed):
            return Verdict(self.name, True, "nothing behind the last entry changed", 0.0, 0.0, reason)
        place = used + int(changed[0])
        detail = f"entry {place} became {int(after[place - used])}; the list ends at {used}"
        return Verdict(self.name, False, detail, 1.0, 0.0, reason, self.entries, (place,))


def locate_entry(output: str, index: tuple[int, ...], indptr: torch.Tensor) -> Coordinate:
    """Entry of a CSR list -> its token and its rank there; other outputs have one element a token."""
    place = index[0]
    if output not in ("ragged", "flat"):
        return Coordinate(output=output, index=index, where={"token": place})
    token = int(torch.searchsorted(indptr, torch.tensor(place, dtype=indptr.dtype), right=True)) - 1
    return Coordinate(output=output, index=index, where={"token": token, "entry": place - int(indptr[token])})


def reversed_list(entries: torch.Tensor, indptr: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A CSR list with its rows in reverse order, what lies behind them left as it is."""
    bounds = indptr.tolist()
    rows = [entries[a:b] for a, b in itertools.pairwise(bounds)][::-1]
    starts = torch.tensor([0, *itertools.accumulate(len(row) for row in rows)], dtype=indptr.dtype)
    return torch.cat([*rows, entries[bounds[-1] :]]), starts
