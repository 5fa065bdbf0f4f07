"""Op `concat_and_cache_mla`: latents and RoPE into the dense 576-wide MLA cache, bf16 or fp8 under one scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.fp8 import format_of
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.caches.dispatch import DISPATCH, CachesDispatch, LatentWriteVariant, latent_write_variant
from rocassay.references.caches import concat_and_cache_mla as reference
from rocassay.references.caches.dense import dense_576
from rocassay.suites.kernels.caches_axes import ARCHES, FP8S, TOKEN_BLOCK_SIZES, TOKEN_WIDE_BLOCK_SIZES
from rocassay.suites.kernels.caches_inputs import (
    LAYER_SCALES,
    SURPLUS_ROWS,
    TALL_TOKENS,
    blocks_for,
    cache_placement,
    fits_beyond,
    locate_slot,
    padded_rows,
    permute_slots,
    random_bf16,
    random_bytes,
    slot_mapping,
    tall_rows,
)
from rocassay.suites.kernels.midpoints import quotients

NAME = "concat_and_cache_mla"
ELEMENTS, LATENT, ROPE = 576, 512, 64
_EXACT_SCALE = 0.5
"""k_scale under which every quotient is a bf16 number, in the recipe `midpoints`."""


def cases(tier: Tier) -> Iterable[Case]:
    """fp8 in both flavours and bf16, which has none and takes e4m3fn's name; warm-up rows; offsets beyond 2^31."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": TOKEN_BLOCK_SIZES}
    plain = {**axes, "fp8s": ("e4m3fn",)}
    tokens = (33,) if tier == "quick" else (9, 15, 16, 17, 33, 127, 257)
    for dtype, own in (("fp8", axes), ("auto", plain)):
        yield from cross(
            NAME, **own, recipes=("tagged", "padded"), tokens=tokens, kv_cache_dtype=(dtype,), slots=("mixed",)
        )
        yield from cross(NAME, **own, tokens=(17,), kv_cache_dtype=(dtype,), slots=("dummy",))
        one = {**own, "block_sizes": TOKEN_BLOCK_SIZES[:1]}
        yield from cross(NAME, **one, tokens=(9,), kv_cache_dtype=(dtype,), slots=("owned",))
        wide = {**own, "block_sizes": TOKEN_WIDE_BLOCK_SIZES}
        yield from cross(NAME, **wide, recipes=("wide",), tokens=(17,), kv_cache_dtype=(dtype,), slots=("mixed",))
    code: dict[str, Any] = {**axes, "block_sizes": TOKEN_BLOCK_SIZES[:1], "kv_cache_dtype": ("fp8",)}
    yield from cross(NAME, **code, recipes=("midpoints",), tokens=(9,), slots=("owned",))
    few: dict[str, Any] = {
        **plain,
        "arches": ARCHES[:1],
        "block_sizes": TOKEN_WIDE_BLOCK_SIZES,
        "recipes": ("tall", "narrow"),
    }
    yield from cross(NAME, **few, tokens=(TALL_TOKENS,), kv_cache_dtype=("fp8",), slots=("mixed",))


def _dense(case: Case) -> bool:
    return case["kv_cache_dtype"] == "auto"


def _scaled(stream: Stream, shape: tuple[int, ...], fp8: str) -> torch.Tensor:
    """bf16 that stays within the scaling range over k_scale; negatives that round to -0 and exact zeros included."""
    spread = format_of(fp8).scaling_max / 8 * LAYER_SCALES[0]
    values = stream.gaussian(shape) * spread * np.exp2(-(np.arange(shape[0]) % 12))[:, None]
    values[2:3, ::3] = 0.0
    values[4:5, ::2] = -(2.0**-14)
    return torch.from_numpy(values).to(torch.bfloat16)


def inputs(case: Case, stream: Stream) -> Operands:
    """Values within range (fp8) or arbitrary bits (bf16), slots in random order, a cache of random bytes."""
    tokens = case.integer("tokens")
    blocks, rows = blocks_for(case, tokens), tokens + SURPLUS_ROWS
    if _dense(case):
        kv_c = random_bf16(stream.child("kv_c"), (rows, LATENT))
        k_pe = random_bf16(stream.child("k_pe"), (rows, ROPE))
        cache = random_bf16(stream.child("kv_cache"), (blocks, case.block_size, ELEMENTS))
    else:
        kv_c = _scaled(stream.child("kv_c"), (rows, LATENT), case.fp8)
        k_pe = _scaled(stream.child("k_pe"), (rows, ROPE), case.fp8)
        cache = random_bytes(stream.child("kv_cache"), (blocks, case.block_size, ELEMENTS))
    scale = LAYER_SCALES[0]
    if case.recipe == "midpoints" and not _dense(case):
        scale = _EXACT_SCALE
        every = quotients(case.fp8, kv_c.dtype, format_of(case.fp8).max_finite) * scale
        rows_of_all = torch.from_numpy(np.resize(every, (tokens, ELEMENTS)))
        kv_c[:tokens], k_pe[:tokens] = rows_of_all[:, :LATENT], rows_of_all[:, LATENT:]
    kv_c[tokens:], k_pe[tokens:] = torch.nan, torch.nan
    return Operands(
        inputs={
            "kv_c": kv_c,
            "k_pe": k_pe,
            "slot_mapping": slot_mapping(case, stream.child("slots"), blocks),
            "scale": torch.tensor([scale]),
        },
        outputs={"kv_cache": cache},
        placements={
            **cache_placement(case, "kv_cache", ELEMENTS, size=cache.element_size()),
            **padded_rows(case, "kv_c", LATENT, 64),
            **padded_rows(case, "k_pe", ROPE, 512),
            **tall_rows(case, "kv_c"),
        },
    )


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """The whole cache, untouched elements included."""
    stored = reference.concat_and_cache_mla(**operands.inputs, **operands.outputs, fp8=case.fp8)
    return {"kv_cache": ExactBytes(stored.expected, stored.alternatives)}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_concat_and_cache_mla(**arguments, fp8=case.fp8)


def variant(case: Case, target: Target, dispatch: CachesDispatch) -> LatentWriteVariant:
    """The dispatcher's decisions."""
    dtype = "auto" if _dense(case) else "fp8"
    return latent_write_variant(target, kv_cache_dtype=dtype, fp8=case.fp8, dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Index of the cache tensor -> the token and byte stored there."""
    size = 2 if _dense(case) else 1
    return locate_slot(case, dense_576(case.block_size, size), output, index, size)


def accepts(case: Case) -> bool:
    """bf16 has no flavour; beyond 2^31 lie only so many slots."""
    flavoured = not _dense(case) or case.fp8 == "e4m3fn"
    return flavoured and fits_beyond(case)


OP = register(
    Op(
        name=NAME,
        contract="576 elements a token, bf16 as they are or fp8 of element / scale, scattered to its slot",
        launcher="rocassay.kernels.caches.concat_and_cache_mla:concat_and_cache_mla",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "a code is one correctly rounded fp32 quotient, a bf16 element is copied"),
        locate=locate,
        free={"tokens": (1, 80)},
        accepts=accepts,
        layout=lambda case: dense_576(case.block_size, 2 if _dense(case) else 1),
        faults=(
            "k-scale-vs-v-scale-mla",
            "mla-scale-applied-to-bf16-cache",
            "dummy-run-writes-slot-zero",
            "mla-page-stride-assumed-contiguous",
            "mla-block-id-int32",
            "kpool-advertised-block-size",
        ),
        probes=(
            Dispatch(lambda _: ("_concat_and_cache_mla_kernel",)),
            Strides(),
            Invariance("page-permutation", permute_slots("kv_cache"), "the slot mapping alone says where a page lies"),
        ),
        probed=lambda case: case.recipe == "padded",
    )
)
