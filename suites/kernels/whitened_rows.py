"""Whitened error of outputs with more than two dimensions: every index but the last names a row."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from rocassay.harness.gates import Verdict, Whitened
from rocassay.harness.gates.verdict import same_shape
from rocassay.references.common.rounding import Modelled


@dataclass(frozen=True, slots=True)
class WhitenedRows(Whitened):
    """Golden and error model of an output [..., columns]; judged as [rows, columns], reported at its own index."""

    def judge(self, output: str, actual: torch.Tensor) -> list[Verdict]:
        """The verdicts of `Whitened` with indices of the original shape."""
        same_shape(output, actual, self.golden)
        rows = Whitened(
            self.golden.flatten(0, -2),
            self.sigma.flatten(0, -2),
            self.bound.flatten(0, -2),
            self.visible.flatten(0, -2),
            share=None if self.share is None else self.share.flatten(),
            model_holds=self.model_holds,
        )
        verdicts = rows.judge(output, actual.flatten(0, -2))
        return [v if v.index is None else replace(v, index=self._unflattened(v.index)) for v in verdicts]

    def _unflattened(self, index: tuple[int, ...]) -> tuple[int, ...]:
        row = torch.unravel_index(torch.tensor(index[0]), self.golden.shape[:-1])
        return (*(int(i) for i in row), index[-1])


def whitened_rows(model: Modelled) -> WhitenedRows:
    """Expectation of an output that the contract defines everywhere."""
    visible = torch.ones_like(model.value, dtype=torch.bool)
    return WhitenedRows(model.value, model.sigma, model.bound, visible, share=model.share)
