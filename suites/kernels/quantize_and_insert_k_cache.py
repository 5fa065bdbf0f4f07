"""Op `quantize_and_insert_k_cache`: V4 keys into the planar 584-byte page cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.layouts import planar_584
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.caches.dispatch import DISPATCH, CachesDispatch, InsertVariant, insert_variant
from rocassay.references.caches import quantize_and_insert_k_cache as reference
from rocassay.suites.kernels.caches_axes import ARCHES, FP8S, PLANAR_BLOCK_SIZES, PLANAR_WIDE_BLOCK_SIZES
from rocassay.suites.kernels.caches_inputs import (
    SURPLUS_ROWS,
    TALL_TOKENS,
    blocks_for,
    cache_placement,
    fits_beyond,
    latents,
    locate_slot,
    permute_slots,
    random_bf16,
    random_bytes,
    slot_mapping,
    tall_rows,
)
from rocassay.suites.kernels.midpoints import groups_at_midpoints

NAME = "quantize_and_insert_k_cache"
RECORD, HEAD_DIM, NOPE = 584, 512, 448


def cases(tier: Tier) -> Iterable[Case]:
    """Quick: every page size, flavour and arch, warm-up rows alone; full adds token counts around the tile."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": PLANAR_BLOCK_SIZES}
    tokens = (33,) if tier == "quick" else (9, 15, 16, 17, 33, 127, 257)
    yield from cross(NAME, **axes, recipes=("tagged", "padded"), tokens=tokens, slots=("mixed",))
    yield from cross(NAME, **axes, tokens=(17,), slots=("dummy",))
    one = {**axes, "block_sizes": PLANAR_BLOCK_SIZES[:1]}
    yield from cross(NAME, **one, tokens=(9,), slots=("owned",))
    wide = {**axes, "block_sizes": PLANAR_WIDE_BLOCK_SIZES}
    yield from cross(NAME, **wide, recipes=("wide",), tokens=(17,), slots=("mixed",))
    yield from cross(NAME, **one, recipes=("midpoints",), tokens=(9,), slots=("owned",))
    few: dict[str, Any] = {"arches": ARCHES[:1], "fp8s": FP8S[:1], "block_sizes": (16,)}
    yield from cross(NAME, **few, recipes=("tall", "narrow"), tokens=(TALL_TOKENS,), slots=("mixed",))


def inputs(case: Case, stream: Stream) -> Operands:
    """Keys with tagged groups and arbitrary RoPE bits, slots in random order, a cache of random bytes."""
    tokens = case.integer("tokens")
    blocks = blocks_for(case, tokens)
    nope = latents(stream.child("nope"), tokens + SURPLUS_ROWS, NOPE, 64)
    if case.recipe == "midpoints":
        groups = groups_at_midpoints(case.fp8, nope.dtype, tokens * NOPE // 64, 64)
        nope[:tokens] = torch.from_numpy(groups.reshape(tokens, NOPE))
    k = torch.cat([nope, random_bf16(stream.child("rope"), (tokens + SURPLUS_ROWS, 64))], dim=1)
    k[tokens:] = torch.nan
    placements = {**cache_placement(case, "k_cache", RECORD, multiple=576), **tall_rows(case, "k")}
    if case.recipe == "padded":
        placements["k"] = Placement((HEAD_DIM + 64, 1))
    return Operands(
        inputs={"k": k, "slot_mapping": slot_mapping(case, stream.child("slots"), blocks)},
        outputs={"k_cache": random_bytes(stream.child("k_cache"), (blocks, case.block_size, RECORD))},
        placements=placements,
    )


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """The whole cache, untouched bytes included."""
    cache = reference.quantize_and_insert_k_cache(**operands.inputs, **operands.outputs, fp8=case.fp8)
    return {"k_cache": ExactBytes(cache)}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_quantize_and_insert_k_cache(**arguments, fp8=case.fp8)


def variant(case: Case, target: Target, dispatch: CachesDispatch) -> InsertVariant:
    """The dispatcher's decisions."""
    return insert_variant(target, fp8=case.fp8, block_size=case.block_size, dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Index of the cache tensor -> the token and byte stored there."""
    return locate_slot(case, planar_584(case.block_size), output, index)


def accepts(case: Case) -> bool:
    """All mixtures; beyond 2^31 lie only so many slots."""
    return fits_beyond(case)


OP = register(
    Op(
        name=NAME,
        contract="448 dims as FP8 under 7 ue8m0 scales and 64 bf16 RoPE dims a token, scattered to its slot",
        launcher="rocassay.kernels.caches.quantize_and_insert_k_cache:quantize_and_insert_k_cache",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "scales are exact powers of two and codes one rounding: every byte is defined"),
        locate=locate,
        free={"tokens": (1, 80)},
        accepts=accepts,
        layout=lambda case: planar_584(case.block_size),
        faults=(
            "dsv4-584B-planar-vs-interleaved",
            "dummy-run-writes-slot-zero",
            "mla-floor-on-amax-vs-scale",
            "mla-zero-amax-without-floor",
            "mla-scale-rounded-after-quantising",
            "mla-scaling-maximum-240",
            "mla-pad-byte-unwritten",
            "mla-rope-at-element-448",
            "mla-page-stride-assumed-contiguous",
            "mla-block-id-int32",
            "kpool-advertised-block-size",
        ),
        probes=(
            Dispatch(lambda _: ("_quantize_and_insert_k_cache_kernel",)),
            Strides(),
            Invariance("page-permutation", permute_slots("k_cache"), "the slot mapping alone says where a page lies"),
        ),
        probed=lambda case: case.recipe == "padded",
    )
)
