"""Op `indexer_k_quant_and_cache`: quantise one key per token and scatter it into the paged indexer cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.codegen_lint import Codegen
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Strides
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.results import Coordinate
from rocassay.kernels.indexer.dispatch import DISPATCH, IndexerDispatch, WriteVariant, write_variant
from rocassay.references.indexer import indexer_k_quant_and_cache as reference
from rocassay.suites.kernels.axes import ARCHES, BLOCK_SIZES, FP8S, WIDE_BLOCK_SIZES
from rocassay.suites.kernels.indexer_inputs import (
    HEAD_DIM,
    RECORD,
    WIDE_PAGES,
    WRAP,
    cache_placement,
    contract_layout,
    keys,
    layout_name,
    random_bytes,
)
from rocassay.suites.kernels.midpoints import groups_at_midpoints

NAME = "indexer_k_quant_and_cache"
TALL_TOKENS = 18
"""Most keys of the recipe `tall`; the last one, which owns a slot, lies beyond 2^31 elements."""

SURPLUS_ROWS = 3
"""Rows of k beyond the slot mapping, as graph padding leaves them."""


def cases(tier: Tier) -> Iterable[Case]:
    """Quick: every page size, flavour and arch; full adds token counts around the program's tile."""
    tokens = (33,) if tier == "quick" else (1, 15, 16, 17, 33, 127, 257)
    yield from cross(
        NAME,
        arches=ARCHES,
        fp8s=FP8S,
        block_sizes=BLOCK_SIZES,
        recipes=("tagged", "padded"),
        where=lambda case: tier != "quick" or case.recipe == "padded" or case["scale_fmt"] == "ue8m0",
        tokens=tokens,
        scale_fmt=("ue8m0", "float"),
        ratio=(1, 4),
    )
    yield from cross(
        NAME,
        arches=ARCHES,
        fp8s=FP8S,
        block_sizes=WIDE_BLOCK_SIZES,
        recipes=("wide",),
        tokens=(17,),
        scale_fmt=("ue8m0",),
        ratio=(1,),
    )
    one: dict[str, Any] = {"block_sizes": (16,), "scale_fmt": ("ue8m0",), "ratio": (1,)}
    yield from cross(NAME, arches=ARCHES, fp8s=FP8S, **one, recipes=("midpoints",), tokens=(18,))
    few: dict[str, Any] = {"arches": ARCHES[:1], "fp8s": FP8S[:1], "block_sizes": (16,), "scale_fmt": ("ue8m0",)}
    yield from cross(NAME, **few, recipes=("tall", "single"), tokens=(TALL_TOKENS,), ratio=(1,))


def inputs(case: Case, stream: Stream) -> Operands:
    """Keys with tagged rows, slots visited in random order, a skipped slot now and then, a cache of random bytes."""
    tokens, block_size = case.integer("tokens"), case.block_size
    far = case.recipe in ("wide", "tall")
    blocks = WIDE_PAGES if far else max(2, -(-2 * tokens // block_size))
    k = keys(stream.child("k"), tokens + SURPLUS_ROWS)
    k[tokens:] = torch.nan
    slots = stream.child("slots").permutation(blocks * block_size)
    if far:
        slots = slots[slots >= blocks * block_size * 15 // 16]
    slot_mapping = torch.from_numpy(slots[:tokens].copy())
    slot_mapping[5::11] = torch.tensor([-1, -5, -(2**40)]).repeat(tokens)[: len(slot_mapping[5::11])]
    if case.recipe == "tall":
        slot_mapping = slot_mapping.clamp(min=-(2**31)).to(torch.int32)
    if case.recipe == "single":
        k = _single(k)
    elif case.recipe == "midpoints":
        groups = groups_at_midpoints(case.fp8, torch.float32, tokens, HEAD_DIM)
        k = torch.cat([torch.from_numpy(groups), k[tokens:]]).to(torch.float32)
    return Operands(
        inputs={"k": k, "slot_mapping": slot_mapping},
        outputs={"kv_cache": random_bytes(stream.child("kv_cache"), (blocks, block_size, RECORD))},
        scalars={"scale_fmt": case["scale_fmt"]},
        placements=_placements(case),
    )


def _single(k: torch.Tensor) -> torch.Tensor:
    """fp32 keys; row 2's largest magnitude is the fp32 above 1.75 * 2^k, so that its scale is the next power of two."""
    single = k.to(torch.float32)
    row = single[2:3]
    row[row == 1.75] = 1.75 + 2.0**-23
    return single


def _placements(case: Case) -> dict[str, Placement]:
    """`tall` keys lie 2^27 elements apart, and its slots so far that what lies between is 0 (harness/arena.py)."""
    if case.recipe in ("single", "midpoints"):
        return {}
    if case.recipe == "tall":
        placed = cache_placement(replace(case, recipe="wide"))
        return {**placed, "k": Placement((2**27, 1), lead=2 * WRAP), "slot_mapping": Placement((2**20,))}
    padded = {"k": Placement((HEAD_DIM + 64, 1))} if case.recipe == "padded" else {}
    return {**cache_placement(case), **padded}


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """The whole cache, untouched bytes included."""
    cache = reference.indexer_k_quant_and_cache(
        operands.inputs["k"],
        operands.outputs["kv_cache"],
        operands.inputs["slot_mapping"],
        layout=layout_name(case),
        fp8=case.fp8,
        scale_fmt="ue8m0" if case["scale_fmt"] == "ue8m0" else "float",
    )
    alternatives = () if cache.scale_ulp == 0 else (cache.alternative, *_neighbouring_scales(cache.expected))
    return {"kv_cache": ExactBytes(cache.expected, alternatives)}


def _neighbouring_scales(cache: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The cache with every fp32 scale one ulp lower and one ulp higher, as the contract allows for float scales."""
    blocks, block_size, _ = cache.shape
    below, above = (cache.reshape(blocks, -1).clone() for _ in range(2))
    for pages, step in ((below, -1), (above, 1)):
        scales = pages[:, block_size * HEAD_DIM :]
        scales.copy_((scales.contiguous().view(torch.int32) + step).view(torch.uint8))
    return below.reshape(cache.shape), above.reshape(cache.shape)


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_indexer_k_quant_and_cache(**arguments, layout=layout_name(case), fp8=case.fp8)


def variant(case: Case, target: Target, dispatch: IndexerDispatch) -> WriteVariant:
    """The dispatcher's decisions."""
    ratio = case.integer("ratio")
    return write_variant(target, fp8=case.fp8, block_size=case.block_size, ratio=ratio, dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Index [block, row, byte] of the cache tensor -> the token and byte stored there under the contract's layout."""
    block, row, byte = index
    offset = row * RECORD + byte
    token, record_byte = contract_layout(case).locate(offset) or (row, byte)
    return Coordinate(output=output, index=index, block=block, token=token, byte=record_byte, offset=offset)


def permute_slots(case: Case, operands: Operands) -> Transformed:
    """The same keys written to other physical pages."""
    cache, slots = operands.outputs["kv_cache"], operands.inputs["slot_mapping"]
    moved = torch.from_numpy(Stream(str(case), "permute").permutation(cache.shape[0]))
    block, token = slots // case.block_size, slots % case.block_size
    new_slots = torch.where(slots >= 0, moved[block.clamp(min=0)] * case.block_size + token, slots)
    new_cache = torch.empty_like(cache)
    new_cache[moved] = cache
    changed = replace(
        operands,
        inputs={**operands.inputs, "slot_mapping": new_slots},
        outputs={"kv_cache": new_cache},
    )
    return case, changed, lambda outputs: {"kv_cache": outputs["kv_cache"][moved]}


def accepts(case: Case) -> bool:
    """All mixtures; beyond 2^31 lie only so many slots and rows."""
    tokens = case.integer("tokens")
    slots = case.recipe not in ("wide", "tall") or 16 * tokens <= WIDE_PAGES * case.block_size
    return slots and (case.recipe != "tall" or tokens <= TALL_TOKENS)


OP = register(
    Op(
        name=NAME,
        contract="one FP8 key of 128 dims and one fp32 scale per token, scattered to its slot; negative slots skipped",
        launcher="rocassay.kernels.indexer.indexer_k_quant_and_cache:indexer_k_quant_and_cache",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "scale and codes are each one correctly rounded fp32 operation: every byte is defined"),
        locate=locate,
        free={"tokens": (1, 150)},
        accepts=accepts,
        layout=contract_layout,
        faults=(
            "idx-shuffle-at-bs1",
            "dsv4-hardcoded-float8e4nv",
            "paged-stride-assumed-contiguous",
            "indexer-block-id-int32",
        ),
        probes=(
            Dispatch(lambda _: ("_indexer_k_quant_and_cache_kernel",)),
            Strides(),
            Codegen(lambda case: case.recipe == "wide" and case.fp8 == "e4m3fn"),
            Invariance("page-permutation", permute_slots, "where a page lies is the slot mapping's business"),
        ),
        probed=lambda case: case.recipe == "padded" and case["scale_fmt"] == "ue8m0" and case["ratio"] == 1,
    )
)
