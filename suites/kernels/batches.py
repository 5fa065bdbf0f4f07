"""Batches with one request more: what the probe of batch invariance runs instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from rocassay.harness.cases import Case
from rocassay.harness.inputs import Operands
from rocassay.harness.probes.metamorphic import Transformed


def one_more(rows: Sequence[str], lists: Sequence[tuple[str, str]] = ()) -> Callable[[Case, Operands], Transformed]:
    """The batch's last request once more, in front of all others.

    rows: tensors whose first dimension goes by requests, with as many rows for each as any other; the first one's
    length is the number of requests. lists: pairs (indices [nnz], indptr [requests + 1]) of a list per request.
    """

    def transform(case: Case, operands: Operands) -> Transformed:
        requests = len(operands.inputs[rows[0]])

        def grown(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {name: _led(x, len(x) // requests) if name in rows else x for name, x in tensors.items()}

        inputs, unread = grown(operands.inputs), grown(operands.unread)
        for indices, indptr in lists:
            if indices in inputs:
                bounds = operands.inputs[indptr]
                begin, end = int(bounds[-2]), int(bounds[-1])
                inputs[indptr] = torch.cat([bounds[:1], bounds + (end - begin)])
                for tensors in (inputs, unread):
                    if indices in tensors:
                        tensors[indices] = torch.cat([tensors[indices][begin:end], tensors[indices]])
        outputs, workspaces = grown(operands.outputs), grown(operands.workspaces)
        more = replace(operands, inputs=inputs, unread=unread, outputs=outputs, workspaces=workspaces)
        return case, more, lambda found: {name: _shared(x, requests) for name, x in found.items()}

    return transform


def _led(tensor: torch.Tensor, share: int) -> torch.Tensor:
    return torch.cat([tensor[len(tensor) - share :], tensor])


def _shared(tensor: torch.Tensor, requests: int) -> torch.Tensor:
    """The rows of the requests that were there before."""
    return tensor[len(tensor) // (requests + 1) :]
