"""Op `concat_and_cache_ds_mla`: V3.2 latents and RoPE into the 656-byte token cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.layouts import interleaved_656
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.caches.dispatch import DISPATCH, CachesDispatch, LatentWriteVariant, latent_write_variant
from rocassay.references.caches import concat_and_cache_ds_mla as reference
from rocassay.suites.kernels.caches_axes import ARCHES, FP8S, TOKEN_BLOCK_SIZES, TOKEN_WIDE_BLOCK_SIZES
from rocassay.suites.kernels.caches_inputs import (
    SURPLUS_ROWS,
    TALL_TOKENS,
    blocks_for,
    cache_placement,
    fits_beyond,
    latents,
    locate_slot,
    padded_rows,
    permute_slots,
    random_bf16,
    random_bytes,
    slot_mapping,
    tall_rows,
)
from rocassay.suites.kernels.midpoints import groups_at_midpoints

NAME = "concat_and_cache_ds_mla"
RECORD, LATENT, ROPE = 656, 512, 64


def cases(tier: Tier) -> Iterable[Case]:
    """Quick: both scale formats at every page size, flavour and arch, warm-up rows alone."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": TOKEN_BLOCK_SIZES}
    tokens = (33,) if tier == "quick" else (9, 15, 16, 17, 33, 127, 257)
    both: dict[str, Any] = {"scale_fmt": ("ue8m0", "float"), "slots": ("mixed",)}
    yield from cross(NAME, **axes, recipes=("tagged", "padded"), tokens=tokens, **both)
    yield from cross(NAME, **axes, tokens=(17,), scale_fmt=("float",), slots=("dummy",))
    one = {**axes, "block_sizes": TOKEN_BLOCK_SIZES[:1]}
    yield from cross(NAME, **one, tokens=(9,), scale_fmt=("float",), slots=("owned",))
    wide = {**axes, "block_sizes": TOKEN_WIDE_BLOCK_SIZES}
    yield from cross(NAME, **wide, recipes=("wide",), tokens=(17,), scale_fmt=("ue8m0",), slots=("mixed",))
    yield from cross(NAME, **one, recipes=("midpoints",), tokens=(9,), scale_fmt=("ue8m0",), slots=("owned",))
    few: dict[str, Any] = {**wide, "arches": ARCHES[:1], "fp8s": FP8S[:1], "recipes": ("tall", "narrow")}
    yield from cross(NAME, **few, tokens=(TALL_TOKENS,), scale_fmt=("ue8m0",), slots=("mixed",))


def inputs(case: Case, stream: Stream) -> Operands:
    """Latents with tagged groups, arbitrary RoPE bits, slots in random order, a cache of random bytes."""
    tokens = case.integer("tokens")
    blocks = blocks_for(case, tokens)
    kv_c = latents(stream.child("kv_c"), tokens + SURPLUS_ROWS, LATENT, 128)
    if case.recipe == "midpoints":
        groups = groups_at_midpoints(case.fp8, kv_c.dtype, tokens * LATENT // 128, 128)
        kv_c[:tokens] = torch.from_numpy(groups.reshape(tokens, LATENT))
    kv_c[tokens:] = torch.nan
    return Operands(
        inputs={
            "kv_c": kv_c,
            "k_pe": random_bf16(stream.child("k_pe"), (tokens + SURPLUS_ROWS, ROPE)),
            "slot_mapping": slot_mapping(case, stream.child("slots"), blocks),
        },
        outputs={"kv_cache": random_bytes(stream.child("kv_cache"), (blocks, case.block_size, RECORD))},
        scalars={"scale_fmt": case["scale_fmt"]},
        placements={
            **cache_placement(case, "kv_cache", RECORD),
            **padded_rows(case, "kv_c", LATENT, 64),
            **padded_rows(case, "k_pe", ROPE, 512),
            **tall_rows(case, "kv_c"),
        },
    )


def _scale_fmt(case: Case) -> Literal["ue8m0", "float"]:
    return "ue8m0" if case["scale_fmt"] == "ue8m0" else "float"


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """The whole cache, untouched bytes included."""
    stored = reference.concat_and_cache_ds_mla(
        **operands.inputs, **operands.outputs, fp8=case.fp8, scale_fmt=_scale_fmt(case)
    )
    return {"kv_cache": ExactBytes(stored.expected, stored.alternatives)}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_concat_and_cache_ds_mla(**arguments, fp8=case.fp8)


def variant(case: Case, target: Target, dispatch: CachesDispatch) -> LatentWriteVariant:
    """The dispatcher's decisions."""
    return latent_write_variant(target, kv_cache_dtype="fp8_ds_mla", fp8=case.fp8, dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Index of the cache tensor -> the token and byte stored there."""
    return locate_slot(case, interleaved_656(case.block_size), output, index)


def accepts(case: Case) -> bool:
    """All mixtures; beyond 2^31 lie only so many slots."""
    return fits_beyond(case)


OP = register(
    Op(
        name=NAME,
        contract="512 latent dims as FP8 under 4 fp32 scales and 64 bf16 RoPE dims a token, scattered to its slot",
        launcher="rocassay.kernels.caches.concat_and_cache_ds_mla:concat_and_cache_ds_mla",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "scale and codes are each one correctly rounded fp32 operation: every byte is defined"),
        locate=locate,
        free={"tokens": (1, 80)},
        accepts=accepts,
        layout=lambda case: interleaved_656(case.block_size),
        faults=(
            "dummy-run-writes-slot-zero",
            "mla-floor-on-amax-vs-scale",
            "mla-zero-amax-without-floor",
            "mla-scale-rounded-after-quantising",
            "mla-page-stride-assumed-contiguous",
            "mla-block-id-int32",
            "kpool-advertised-block-size",
        ),
        probes=(
            Dispatch(lambda _: ("_concat_and_cache_ds_mla_kernel",)),
            Strides(),
            Invariance("page-permutation", permute_slots("kv_cache"), "the slot mapping alone says where a page lies"),
        ),
        probed=lambda case: case.recipe == "padded" and case["scale_fmt"] == "ue8m0",
    )
)
