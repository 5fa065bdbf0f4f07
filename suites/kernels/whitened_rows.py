"""Whitened error of outputs that the contract defines everywhere."""

from __future__ import annotations

import torch

from rocassay.harness.gates import Whitened
from rocassay.references.common.rounding import Modelled


def whitened_rows(model: Modelled) -> Whitened:
    """Expectation of an output [..., columns] without an undefined element."""
    visible = torch.ones_like(model.value, dtype=torch.bool)
    return Whitened(model.value, model.sigma, model.bound, visible, share=model.share)
