"""Expectations of a result and its LSE, filled part by part; what nobody fills must stay as it was."""

from __future__ import annotations

import torch

from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Operands
from rocassay.references.common.rounding import Modelled
from rocassay.references.fp8_prefill.attention import Attended, with_output


class Canvas:
    """A result [rows, heads, dims] and its LSE [rows, heads], of the operands' outputs of these names."""

    def __init__(
        self, operands: Operands, result: str, lse: str, untouched: float, *, model_holds: bool = True
    ) -> None:
        self._holds = model_holds
        self._names, self._untouched = (result, lse), untouched
        self._outputs = operands.outputs
        self._dtype = operands.outputs[result].dtype
        shape = operands.outputs[result].shape
        self._value, self._sigma, self._bound = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
        self._share, self._lse, self._lse_bound = (torch.zeros(shape[:2], dtype=torch.float64) for _ in range(3))
        self._seen = torch.zeros(shape[:2], dtype=torch.bool)
        self._flat = False

    def paint(self, rows: torch.Tensor, head: int | slice, attended: Attended, source: int | slice) -> None:
        """Results of `attended`, for its head `source`, at rows and heads of the output."""
        sigma, bound = with_output(attended, self._dtype)
        self._value[rows, head], self._sigma[rows, head] = attended.value[:, source], sigma[:, source]
        self._bound[rows, head], self._share[rows, head] = bound[:, source], attended.share[:, source]
        self._lse[rows, head], self._lse_bound[rows, head] = attended.lse[:, source], attended.lse_worst[:, source]
        self._seen[rows, head] = True
        self._flat |= attended.flat

    def paint_merged(self, rows: torch.Tensor, value: Modelled, lse: Modelled) -> None:
        """Merged results of all heads."""
        self._value[rows], self._sigma[rows], self._bound[rows] = value.value, value.sigma, value.bound
        self._lse[rows], self._lse_bound[rows] = lse.value, lse.bound
        self._seen[rows] = True

    def expectations(self, *, anything: bool = False) -> dict[str, Whitened]:
        """By output name; `anything` leaves elements that nobody filled free."""
        result, lse = self._names
        outside = () if anything else (self._untouched,)
        found: dict[str, Whitened] = {
            result: Whitened(
                self._value,
                self._sigma,
                self._bound,
                self._seen[..., None].expand_as(self._value),
                outside=outside,
                initial=self._outputs[result],
                share=self._share,
                model_holds=self._holds and not self._flat,
            )
        }
        if lse in self._outputs:
            # Logits round as the engine accumulates: the bound alone is gated.
            found[lse] = Whitened(
                self._lse,
                torch.zeros_like(self._lse),
                self._lse_bound,
                self._seen,
                outside=outside,
                initial=self._outputs[lse],
                model_holds=False,
            )
        return found
