"""Exact gate: the bytes of an output, touched and untouched, are the expected ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from rocassay.harness.gates.verdict import Deviation, Verdict, same_shape
from rocassay.harness.inputs import as_bytes

SHARES = (0.25, 0.5, 0.75)
"""Levels of a picture of wrong bytes."""


@dataclass(frozen=True, slots=True)
class ExactBytes:
    """The whole buffer that an output must equal, byte by byte."""

    expected: torch.Tensor
    """Same shape and dtype as the output; bytes that must stay untouched hold their initial value."""
    alternatives: tuple[torch.Tensor, ...] = ()
    """Other buffers of which a byte may be taken where the contract leaves a choice."""

    def judge(self, output: str, actual: torch.Tensor) -> list[Verdict]:
        """One verdict; the index is that of the first wrong element."""
        found, wanted = as_bytes(actual), as_bytes(self.expected)
        same_shape(output, found, wanted)
        wrong = self._wrong(found, wanted)
        count = int(wrong.sum())
        reason = "the contract defines every byte; nothing is rounded twice"
        if not count:
            detail = f"all {found.numel()} bytes of {output} are the expected ones"
            return [Verdict("bytes", True, detail, 0.0, 0.0, reason)]
        # Not torch's function: it imports sympy, for seconds, in the middle of a case.
        first = int(wrong.reshape(-1).nonzero()[0])
        index = tuple(int(i) for i in np.unravel_index(first, found.shape))
        detail = (
            f"{count} of {found.numel()} bytes of {output} differ; the first: "
            f"found {int(found[index]):#04x}, expected {int(wanted[index]):#04x}"
        )
        return [Verdict("bytes", False, detail, float(count), 0.0, reason, output, index[:-1])]

    def deviation(self, actual: torch.Tensor) -> Deviation:
        """1 for each wrong byte; [..., columns] becomes [..., columns * bytes of an element]."""
        wrong = self._wrong(as_bytes(actual), as_bytes(self.expected)).flatten(-2)
        return Deviation(wrong.double(), torch.ones_like(wrong), "share of bytes that differ", SHARES, 0.0, shares=True)

    def _wrong(self, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        wrong = found != wanted
        for alternative in self.alternatives:
            wrong &= found != as_bytes(alternative)
        return wrong
