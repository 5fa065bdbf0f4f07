"""Faults of the MLA cache family: each changes exactly one thing and reads like the bug it re-creates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from rocassay.harness.arch import fp8_format_of
from rocassay.harness.cases import Case
from rocassay.harness.faults import ChangeDispatch, ChangeInputs, ChangeSource, ChangeVariant, Fault, register
from rocassay.harness.faults.fault import Seam
from rocassay.harness.inputs import Operands
from rocassay.harness.layouts import interleaved_584
from rocassay.suites.kernels.caches_inputs import LAYER_SCALES

INSERT, GATHER = "quantize_and_insert_k_cache", "dequantize_and_gather_k_cache"
DS_MLA, DENSE, LATENTS = "concat_and_cache_ds_mla", "concat_and_cache_mla", "gather_and_maybe_dequant_cache"
WRITERS = (INSERT, DS_MLA, DENSE)
BYTES = frozenset({"bytes"})
"""The check that compares every byte of an output with the golden."""


def _fault(
    name: str, reference: str, summary: str, seams: Mapping[str, Seam], applies: Callable[[Case], bool]
) -> Fault:
    return register(Fault(name, reference, summary, seams, applies, BYTES))


def _line(op: str, line: str, becomes: str) -> ChangeSource:
    return ChangeSource(f"rocassay.kernels.caches.{op}", line, becomes)


def _is(case: Case, **wanted: str | int) -> bool:
    """Whether the case has every wanted parameter value; False for an op without that parameter."""
    params = dict(case.params)
    return all(params.get(name) == value for name, value in wanted.items())


def _moves(case: Case) -> bool:
    """Whether the case writes or gathers any token."""
    return not _is(case, slots="dummy") and not (case.op == GATHER and _is(case, lengths=0))


# Layout

_fault(
    "dsv4-584B-planar-vs-interleaved",
    "vllm-project/vllm#41812",
    "scales are taken to lie behind each token's data, not behind the data of the whole page",
    dict.fromkeys((INSERT, GATHER), ChangeDispatch(lambda dispatch: replace(dispatch, page=interleaved_584))),
    lambda case: case.block_size > 1 and _moves(case),
)

_fault(
    "fp8dsmla-656-dense-gather",
    "vllm-project/vllm#48611",
    "the 656-byte token is gathered as 576 fp8 values under one global scale",
    {LATENTS: _line(LATENTS, "RECORD=variant.record,", 'RECORD="fp8",')},
    lambda case: _is(case, kv_cache_dtype="fp8_ds_mla"),
)

_fault(
    "mla-rope-at-element-448",
    "vllm-project/vllm#41812",
    "the RoPE part is addressed as bf16 element 448 of the token, twice as far as byte 448",
    {
        INSERT: _line(
            INSERT,
            "rope_target = (data_start + 448).to(tl.pointer_type(tl.int16))",
            "rope_target = data_start.to(tl.pointer_type(tl.int16)) + 448",
        ),
        GATHER: _line(
            GATHER,
            "rope_source = (data_start + 448).to(tl.pointer_type(tl.int16))",
            "rope_source = data_start.to(tl.pointer_type(tl.int16)) + 448",
        ),
    },
    _moves,
)

_fault(
    "mla-pad-byte-unwritten",
    "vllm-project/vllm#41812",
    "seven scale bytes are written and the eighth keeps what an earlier owner of the page left",
    {
        INSERT: _line(
            INSERT,
            "tl.store(scale_start[:, None] + group[None, :], scale, mask=written[:, None])",
            "tl.store(scale_start[:, None] + group[None, :], scale, mask=quantised)",
        )
    },
    _moves,
)

_fault(
    "mla-group-64-vs-128",
    "vLLM deepseek_v4 cache_utils.py, csrc/cache_kernels.cu",
    "the scale of a dimension is looked up with the other cache's group width",
    {
        GATHER: _line(
            GATHER,
            "exponent = tl.load(scale_start[:, None] + group[None, :], mask=quantised, other=0).to(tl.int32)",
            "exponent = tl.load(scale_start[:, None] + group[None, :] // 2, mask=quantised, other=0).to(tl.int32)",
        ),
        LATENTS: _line(LATENTS, "scale_index = group", "scale_index = group * 2"),
    },
    lambda case: (case.op == GATHER and _moves(case)) or _is(case, kv_cache_dtype="fp8_ds_mla"),
)

PAGE_BASES = {
    INSERT: ("block", "584"),
    GATHER: ("page", "584"),
    DS_MLA: ("block", "cache_token_stride"),
    DENSE: ("block", "cache_token_stride"),
    LATENTS: ("page", "cache_token_stride"),
}
"""Per op, the page index in the line that addresses a page, and the bytes of a token."""

PLAIN = ("tagged", "midpoints", "codes")
"""Recipes whose pages lie side by side, but for the padding that the planar cache always has."""

_fault(
    "mla-page-stride-assumed-contiguous",
    "ROCm/aiter#3498",
    "the page stride is rebuilt from the block size: padding up to 576 bytes and interleaved layers are ignored",
    {
        op: _line(op, f"page_base = {page} * cache_block_stride", f"page_base = {page} * (BLOCK_SIZE * {token})")
        for op, (page, token) in PAGE_BASES.items()
    },
    lambda case: _moves(case) and case.recipe != "tall" and (case.recipe not in PLAIN or case.op in (INSERT, GATHER)),
)

_fault(
    "mla-block-id-int32",
    "vllm-project/vllm#46222",
    "block id times page stride is computed in 32 bits and wraps beyond 2^31",
    {
        op: _line(
            op, f"page_base = {page} * cache_block_stride", f"page_base = {page}.to(tl.int32) * cache_block_stride"
        )
        for op, (page, _) in PAGE_BASES.items()
    },
    lambda case: case.recipe == "wide",
)

_fault(
    "strided-cache-gate-uses-numel",
    "ROCm/aiter#4673",
    "offsets of 32 bits are taken because the elements are few, although the view's strides span a larger pool",
    {GATHER: ChangeDispatch(lambda dispatch: replace(dispatch, reach=lambda t: t.numel() * t.element_size()))},
    lambda case: case.recipe == "wide",
)

KERNEL_PAGES = 4
"""Pages of a kernel in a block of the allocator."""


def _allocator_blocks(operands: Operands) -> Operands:
    """Block table and slots in the allocator's blocks, of which every one stands for its first kernel page."""
    changed: dict[str, torch.Tensor] = {}
    if "block_table" in operands.inputs:
        changed["block_table"] = operands.inputs["block_table"] // KERNEL_PAGES
    if "slot_mapping" in operands.inputs:
        slots, (cache,) = operands.inputs["slot_mapping"], operands.outputs.values()
        block, token = slots // cache.shape[1], slots % cache.shape[1]
        changed["slot_mapping"] = torch.where(slots < 0, slots, block // KERNEL_PAGES * cache.shape[1] + token)
    return replace(operands, inputs={**operands.inputs, **changed})


_fault(
    "kpool-advertised-block-size",
    "vllm-project/vllm#54359",
    "block sizes are advertised that no kernel page has: the allocator's table is not split, entries share slots",
    dict.fromkeys((*WRITERS, GATHER, LATENTS), ChangeInputs(_allocator_blocks)),
    lambda case: _moves(case) and case.block_size > 1,
)

# Flavour

_fault(
    "fnuz-flag-dropped-by-wrapper",
    "vllm-project/vllm#42893",
    "the public wrapper does not forward the flavour, so that FNUZ pages decode as OCP: every value doubles",
    {op: _line(op, "FORMAT=variant.fp8,", 'FORMAT="e4m3fn",') for op in (GATHER, LATENTS)},
    lambda case: case.fp8 == "e4m3fnuz" and _moves(case),
)

_fault(
    "mixed-main-fnuz-extra-ocp",
    "vllm-project/vllm#42893",
    "one flavour is used for both V4 caches, although the compressor's is OCP on every chip",
    {GATHER: ChangeDispatch(lambda dispatch: replace(dispatch, extra_fp8=fp8_format_of))},
    lambda case: case.arch == "gfx942" and _is(case, cache="extra"),
)

_fault(
    "mla-scaling-maximum-240",
    "vLLM platforms/rocm.py, get_fp8_min_max",
    "FNUZ scales are derived from the format's largest value, 240, and not from 224",
    {INSERT: ChangeVariant(lambda variant: replace(variant, scaling_max=240.0))},
    lambda case: case.fp8 == "e4m3fnuz" and _moves(case),
)

# Scales and quantisation

_fault(
    "mla-floor-on-amax-vs-scale",
    "FlashMLA reference quantiser; vLLM deepseek_v4 cache_utils.py",
    "the floor 1e-4 is put on the scale instead of the magnitude (584 bytes), or the other way round (656)",
    {
        INSERT: _line(
            INSERT,
            "amax = tl.maximum(tl.max(tl.abs(key), axis=2), 1e-4)",
            "amax = tl.maximum(tl.max(tl.abs(key), axis=2), 1e-4 * SCALING_MAX)",
        ),
        DS_MLA: _line(DS_MLA, "floored = tl.maximum(raw, 1e-4)", "floored = tl.maximum(raw, 1e-4 / SCALING_MAX)"),
    },
    lambda case: _moves(case) and (case.op == INSERT or _is(case, scale_fmt="ue8m0")),
)

_fault(
    "mla-zero-amax-without-floor",
    "ROCm/aiter#4195",
    "a group of zeros gets scale 0: the next user divides zero by zero",
    {
        INSERT: _line(
            INSERT, "amax = tl.maximum(tl.max(tl.abs(key), axis=2), 1e-4)", "amax = tl.max(tl.abs(key), axis=2)"
        ),
        DS_MLA: _line(DS_MLA, "floored = tl.maximum(raw, 1e-4)", "floored = raw"),
    },
    lambda case: _moves(case) and (case.op == INSERT or _is(case, scale_fmt="ue8m0")),
)

_fault(
    "mla-scale-rounded-after-quantising",
    "sgl-project/sglang#28418",
    "values are divided by the exact scale, and only the stored one is rounded up to a power of two",
    {
        INSERT: _line(
            INSERT,
            "inverse = ((254 - exponent) << 23).to(tl.float32, bitcast=True)",
            "inverse = SCALING_MAX / amax",
        ),
        DS_MLA: _line(DS_MLA, "divisor = scale", "divisor = tl.maximum(raw, 1.1754943508222875e-38)"),
    },
    lambda case: _moves(case) and (case.op == INSERT or _is(case, scale_fmt="ue8m0")),
)

_fault(
    "mla-scale-bias-128",
    "OCP microscaling formats specification, E8M0",
    "the ue8m0 byte is decoded with bias 128: every value halves",
    {
        GATHER: _line(
            GATHER,
            "bits = tl.where(exponent == 0, 0x00400000, exponent << 23)",
            "bits = tl.where(exponent == 0, 0, (exponent - 1) << 23)",
        )
    },
    _moves,
)


def _scaled_by_v(operands: Operands) -> Operands:
    return replace(operands, inputs={**operands.inputs, "scale": torch.tensor(LAYER_SCALES[1:])})


_fault(
    "k-scale-vs-v-scale-mla",
    "vllm-project/vllm#37054",
    "the latent is K and V at once, and here it is scaled with the layer's v_scale instead of its k_scale",
    dict.fromkeys((DENSE, LATENTS), ChangeInputs(_scaled_by_v)),
    lambda case: _moves(case) and _is(case, kv_cache_dtype="fp8"),
)

_fault(
    "mla-scale-applied-to-bf16-cache",
    "vllm-project/vllm#37054",
    "the layer's scale is applied to a cache that is not quantised",
    {
        DENSE: _line(
            DENSE,
            "tl.store(elements[:, None] + dim[None, :], latent, mask=written)",
            "scaled = latent.to(tl.bfloat16, bitcast=True).to(tl.float32) * tl.load(scale)\n"
            "latent = scaled.to(tl.bfloat16).to(tl.int16, bitcast=True)\n"
            "tl.store(elements[:, None] + dim[None, :], latent, mask=written)",
        ),
        LATENTS: _line(
            LATENTS,
            "latent = tl.load(elements[:, None, None] + dim[None, :, :], mask=present[:, None, None], other=0)",
            "latent = tl.load(elements[:, None, None] + dim[None, :, :], mask=present[:, None, None], other=0)\n"
            "scaled = latent.to(tl.bfloat16, bitcast=True).to(tl.float32) * tl.load(scale)\n"
            "latent = scaled.to(tl.bfloat16).to(tl.int16, bitcast=True)",
        ),
    },
    lambda case: _moves(case) and _is(case, kv_cache_dtype="auto"),
)

# Slots and positions


def _slot_zero(operands: Operands) -> Operands:
    slots = operands.inputs["slot_mapping"]
    return replace(operands, inputs={**operands.inputs, "slot_mapping": slots.clamp(min=0)})


_fault(
    "dummy-run-writes-slot-zero",
    "vllm-project/vllm#38719",
    "rows of a warm-up run are mapped to slot 0 instead of to none: the first page is polluted",
    dict.fromkeys(WRITERS, ChangeInputs(_slot_zero)),
    lambda case: not _is(case, slots="owned"),
)

_fault(
    "mla-gather-from-the-first-token",
    "vLLM deepseek_v4 cache_utils.py",
    "the gather begins at the first token although only the last gather_len ones are asked for",
    {GATHER: _line(GATHER, "position = seq_len - gather_len + index", "position = index")},
    lambda case: _is(case, gather="tail", lengths="edges"),
)

_fault(
    "mla-chunk-start-ignored",
    "vLLM csrc/cache_kernels.cu",
    "every chunk of a long context is gathered from position 0",
    {
        LATENTS: _line(
            LATENTS, "position += tl.load(seq_starts + request, mask=known, other=0)", "position += request * 0"
        )
    },
    lambda case: _is(case, starts="pages"),
)

_fault(
    "mla-table-pitch-is-its-width",
    "vLLM deepseek_v4 cache_utils.py",
    "block table rows are taken to be as far apart as they are wide, which a slice of a larger table is not",
    {
        GATHER: _line(
            GATHER,
            "table_row = block_table + request * table_stride",
            "table_row = block_table + request * table_width",
        ),
        LATENTS: _line(
            LATENTS,
            "table_row = block_table + request.to(tl.int64) * table_stride",
            "table_row = block_table + request.to(tl.int64) * table_width",
        ),
    },
    lambda case: case.recipe == "padded" and not _is(case, lengths=0),
)
