"""Pointers probe: what a kernel stores as the address of a tensor is where that tensor lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.probes.probe import Observation


@dataclass(frozen=True, slots=True)
class Pointers:
    """An int64 tensor holds the addresses of others, one after the other: no golden knows those of a run."""

    holder: str
    """Name of the tensor of addresses."""
    targets: tuple[str, ...]
    """Names of the tensors whose addresses it holds."""
    name: str = "pointers"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red at the first address at which its tensor does not lie, as kernels of this engine see memory."""
        reason = "a consumer follows the address into whatever lies there"
        guarded = seen.placed.guarded
        told = cast("list[int]", guarded[self.holder].view.cpu().tolist())  # pyright: ignore[reportUnknownMemberType]
        for place, (address, target) in enumerate(zip(told, self.targets, strict=True)):
            here = guarded[target].view.data_ptr()
            due = seen.trace.addresses.get(here, here)
            if address != due:
                detail = f"{self.holder}[{place}] is {address:#x}, {target} lies at {due:#x}"
                return Verdict(self.name, False, detail, 1.0, 0.0, reason)
        return Verdict(self.name, True, f"{self.holder} holds where {' and '.join(self.targets)} lie", 0.0, 0.0, reason)
