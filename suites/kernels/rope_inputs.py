"""Inputs of the RoPE family: positions at every edge, a cache poisoned where no token reads it, and tagged rows.

Recipes: `tagged` (contiguous), `padded` (every stride is padded, q is a slice of wider heads), `wide` (the rotated
tensor's last tokens lie beyond 2^31 elements), `apart` (its last heads and the last angles do), `far` (a cache of all
163840 positions).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from rocassay.harness.cases import Case, MalformedCase
from rocassay.harness.gates import ExactBytes, Verdict, Whitened
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.results import Coordinate
from rocassay.kernels.rope.cos_sin_cache import DEEPSEEK_V32, RopeScaling, cos_sin_cache
from rocassay.references.common.rounding import Modelled
from rocassay.references.rope.rotation import Span, Style, rotated_lanes

ROT = DEEPSEEK_V32.rot
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
INDICES = {"int32": torch.int32, "int64": torch.int64}
RECIPES = ("tagged", "padded", "wide", "apart", "far", "midpoints")

EDGES = (0, 1, 4095, 4096)
"""Position 0 turns nothing, and from 4096 on only YaRN's frequencies are right."""

NEAR, ALL = 4097, 163840
"""Rows of the cache; the last of ALL is the last position of DeepSeek-V3.2."""

SENTINEL = 77.0
WRAP = 2**31

WIDE_PITCH = 2**26 + 2**20
"""Elements from token to token that carry token 32 beyond 2^31 elements."""

APART_HEADS, APART_ANGLES = 2**30 + 2**10, 2**19 + 2**7
"""Elements from head to head and from position to position that carry head 2 and position 4096 there."""

STYLES: dict[str, tuple[Style, Span]] = {
    "mla": ("gptj", "first"),
    "v32_indexer": ("neox", "first"),
    "glm_indexer": ("gptj", "first"),
    "v4": ("gptj", "last"),
}
"""Style and rotated lanes of the models' tensors, from the contract and not from the dispatcher."""


@dataclass(frozen=True, slots=True)
class RotatedRows(Whitened):
    """Whitened error of the rotated lanes; all other lanes must keep their bits."""

    kept: torch.Tensor | None = None
    """The output with the unrotated bits in all lanes."""
    rotated: tuple[int, int] = (0, 0)
    """First rotated lane, and the one after the last."""

    def judge(self, output: str, actual: torch.Tensor) -> list[Verdict]:
        """The whitened verdicts, and one on the bytes of the other lanes."""
        verdicts = Whitened.judge(self, output, actual)
        lanes = slice(*self.rotated)
        if self.kept is None or self.kept[..., lanes].shape == self.kept.shape:
            return verdicts
        expected = self.kept.clone()
        expected[..., lanes] = actual[..., lanes]
        return [*verdicts, *ExactBytes(expected).judge(output, actual)]


def rotated_rows(model: Modelled, kept: torch.Tensor, span: Span) -> RotatedRows:
    """Expectation of a tensor whose first or last `ROT` lanes are rotated."""
    visible = torch.ones_like(model.value, dtype=torch.bool)
    lanes = rotated_lanes(kept.shape[-1], ROT, span)
    return RotatedRows(model.value, model.sigma, model.bound, visible, kept=kept, rotated=(lanes.start, lanes.stop))


@functools.lru_cache(maxsize=4)
def cache_of(positions: int, scaling: RopeScaling = DEEPSEEK_V32) -> torch.Tensor:
    """The shared cos/sin cache; never written to."""
    return cos_sin_cache(scaling, positions)


def positions(case: Case, stream: Stream, tokens: int) -> torch.Tensor:
    """[tokens] in random order with repetitions; every edge occurs."""
    rows = cache_rows(case)
    drawn = stream.child("positions").integers(0, rows, tokens)
    edges = [*EDGES, rows - 1][: max(1, tokens - 1)]
    places = stream.child("edges").permutation(tokens)[: len(edges)]
    drawn[places] = edges
    return torch.from_numpy(drawn).to(INDICES[str(case["index"])])


def cache_rows(case: Case) -> int:
    """Rows of the case's cache; MalformedCase for an unknown recipe."""
    if case.recipe not in RECIPES:
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use one of {', '.join(RECIPES)}")
    return ALL if case.recipe == "far" else NEAR


def cos_sin_inputs(case: Case, stream: Stream, tokens: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Inputs `positions` and `cos_sin_cache`, and which elements of the cache nobody may read: NaN."""
    where = positions(case, stream, tokens)
    unread = torch.ones(cache_rows(case), dtype=torch.bool)
    unread[where.long()] = False
    cache = torch.where(unread[:, None], torch.nan, cache_of(cache_rows(case)))
    return {"positions": where, "cos_sin_cache": cache}, {"cos_sin_cache": unread[:, None].expand(cache.shape)}


def heads(stream: Stream, shape: tuple[int, ...], dtype: torch.dtype, lanes: slice) -> torch.Tensor:
    """Rows [..., D] of their token's own magnitude; in the kept lanes also -0, infinities, NaN and subnormals."""
    values = torch.from_numpy(stream.gaussian(shape))
    values *= torch.exp2(torch.arange(shape[0]) % 7 - 3.0).reshape(-1, *[1] * (len(shape) - 1))
    kept = np.setdiff1d(np.arange(shape[-1]), np.arange(shape[-1])[lanes])
    special = (-0.0, torch.inf, -torch.inf, torch.nan, torch.finfo(dtype).tiny / 4)
    for number, lane in enumerate(kept[:: max(1, len(kept) // 8)]):
        values[number % shape[0] :: 5, ..., int(lane)] = special[number % len(special)]
    return values.to(dtype)


def placements(case: Case, tensors: dict[str, torch.Tensor], wide: str) -> dict[str, Placement]:
    """Padded strides of every tensor in the recipe `padded`; in `wide` only of the tensor of that name.

    Heads that lie apart have their tokens side by side: no more than 2^10 elements.
    """
    if case.recipe == "wide":
        return {wide: Placement((WIDE_PITCH, *tensors[wide].stride()[1:]))}
    if case.recipe == "apart":
        token, _, lane = tensors[wide].stride()
        heads = Placement((token, APART_HEADS, lane), lead=2 * WRAP)
        return {wide: heads, "cos_sin_cache": Placement((APART_ANGLES, 1), lead=4 * WRAP)}
    if case.recipe != "padded":
        return {}
    return {name: Placement(_padded(number, tensors[name])) for number, name in enumerate(tensors, 1)}


def fits(case: Case) -> bool:
    """Whether rows that lie far apart are few and small, or they need more addresses than there are."""
    if case.recipe == "apart":
        return case.integer("tokens") <= 7 and case.integer("heads") <= 3 and case["dtype"] == "bf16"
    return case.recipe != "wide" or (case.integer("tokens") <= 33 and case["dtype"] == "bf16")


def _padded(number: int, tensor: torch.Tensor) -> tuple[int, ...]:
    """Strides of a slice of wider rows; `number` makes those of different tensors differ."""
    if tensor.dim() == 1:
        return (number + 1 if len(tensor) > 1 else 1,)
    pitch = tensor.shape[-1] + 64
    if tensor.dim() == 2:
        return (pitch + 8 * number, 1)
    return (pitch * tensor.shape[1] + 8 * number, pitch, 1)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Token, its position, head and dimension."""
    token, dim = index[0], index[-1]
    where = {"token": token, "position": int(operands.inputs["positions"][token]), "dim": dim}
    return Coordinate(output=output, index=index, where=where | ({"head": index[1]} if len(index) > 2 else {}))


def permute_tokens(case: Case, operands: Operands) -> Transformed:
    """The same tokens in another order."""
    order = torch.from_numpy(Stream(str(case), "permute").permutation(len(operands.inputs["positions"])))
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order))

    def moved(tensors: Any) -> dict[str, torch.Tensor]:
        return {name: t if name == "cos_sin_cache" else t[order] for name, t in tensors.items()}

    changed = replace(operands, inputs=moved(operands.inputs), outputs=moved(operands.outputs))
    return case, changed, lambda outputs: {name: output[back] for name, output in outputs.items()}
