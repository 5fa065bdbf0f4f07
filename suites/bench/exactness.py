"""Judges of benches whose outputs are exact: a plain torch peer computes them again, on the device where it can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from rocassay.harness.bench.bench import Arguments, Judge, Place
from rocassay.harness.bench.runner import poison
from rocassay.harness.gates import Verdict


def same_bytes(outputs: Sequence[str], peer: Callable[[Place, Arguments], object]) -> Judge:
    """Judge that compares whole outputs with those of a peer, which writes into poisoned ones of its own."""

    def judge(where: Place, a: Arguments) -> list[Verdict]:
        fresh = {name: torch.empty_like(a[name]) for name in outputs}
        for tensor in fresh.values():
            poison(tensor)
        peer(where, {**a, **fresh})
        return [byte_verdict(name, a[name], fresh[name]) for name in outputs]

    return judge


def byte_verdict(name: str, found: torch.Tensor, due: torch.Tensor) -> Verdict:
    """Verdict on two dense tensors of one shape, byte by byte."""
    wrong = int((found.view(torch.uint8) != due.view(torch.uint8)).sum())
    detail = f"{wrong} of {found.numel() * found.element_size()} bytes of {name} differ from the peer's"
    return Verdict(f"bytes of {name}", not wrong, detail, float(wrong), 0.0, "stored bytes are exact")


def some(count: int, most: int) -> torch.Tensor:
    """At most so many places of range(count), first and last among them, ascending."""
    return torch.linspace(0, count - 1, min(most, count), dtype=torch.float64).round().long().unique()
