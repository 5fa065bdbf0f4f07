"""The simplest Triton version of memory-bound ops: one program a row, a group or a token, default launch options."""

# ruff: noqa: ANN202
# Kernels return nothing that an annotation could name.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.kernels.common.fp8_codec import decode_fp8, encode_fp8


@triton.jit
def _merge_kernel(output, output_lse, prefix, prefix_lse, suffix, suffix_lse, tokens, DIM: tl.constexpr):
    """Program (t, h) merges one row."""
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    heads = tl.num_programs(1)
    before = tl.load(prefix_lse + head * tokens + token)
    after = tl.load(suffix_lse + head * tokens + token)
    peak = tl.maximum(before, after)
    left, right = tl.exp(before - peak), tl.exp(after - peak)
    total = left + right
    at = (token * heads + head) * DIM + tl.arange(0, DIM)
    first = tl.load(prefix + at).to(tl.float32) * (left / total)
    second = tl.load(suffix + at).to(tl.float32) * (right / total)
    tl.store(output + at, first + second)
    tl.store(output_lse + head * tokens + token, peak + tl.log(total))


def merge(
    output: torch.Tensor,
    output_lse: torch.Tensor,
    prefix: torch.Tensor,
    prefix_lse: torch.Tensor,
    suffix: torch.Tensor,
    suffix_lse: torch.Tensor,
) -> None:
    """Merge of two finite parts; contiguous [T, H, D], D a power of two, and LSEs [H, T]."""
    tokens, heads, dim = output.shape
    _merge_kernel[(tokens, heads)](output, output_lse, prefix, prefix_lse, suffix, suffix_lse, tokens, DIM=dim)


@triton.jit
def _rotate_kernel(rows, target, positions, table, heads, DIM: tl.constexpr, ROT: tl.constexpr, NEOX: tl.constexpr,
                   KEPT: tl.constexpr):  # fmt: skip
    """One program a (token, head): the first ROT lanes turn, KEPT others are copied."""
    row = tl.program_id(0).to(tl.int64)
    position = tl.load(positions + row // heads).to(tl.int64)
    pair = tl.arange(0, ROT // 2)
    cos = tl.load(table + position * ROT + pair)
    sin = tl.load(table + position * ROT + ROT // 2 + pair)
    low = pair if NEOX else 2 * pair
    high = pair + ROT // 2 if NEOX else 2 * pair + 1
    first = tl.load(rows + row * DIM + low).to(tl.float32)
    second = tl.load(rows + row * DIM + high).to(tl.float32)
    tl.store(target + row * DIM + low, first * cos - second * sin)
    tl.store(target + row * DIM + high, second * cos + first * sin)
    if KEPT > 0:
        lane = ROT + tl.arange(0, KEPT)
        tl.store(target + row * DIM + lane, tl.load(rows + row * DIM + lane))


def rotate(
    rows: torch.Tensor, target: torch.Tensor, positions: torch.Tensor, table: torch.Tensor, *, neox: bool
) -> None:
    """RoPE of the first lanes of contiguous [T, H, D] into another tensor; kept lanes none or a power of two."""
    tokens, heads, dim = rows.shape
    rot = table.shape[1]
    _rotate_kernel[(tokens * heads,)](
        rows, target, positions, table, heads, DIM=dim, ROT=rot, NEOX=neox, KEPT=dim - rot
    )  # fmt: skip


@triton.jit
def _group_kernel(x, codes, scales, MAXIMUM: tl.constexpr, GROUP: tl.constexpr, FORMAT: tl.constexpr,
                  NATIVE: tl.constexpr):  # fmt: skip
    """One program a group, power-of-two scales."""
    group = tl.program_id(0).to(tl.int64)
    at = group * GROUP + tl.arange(0, GROUP)
    value = tl.load(x + at).to(tl.float32)
    raw = tl.div_rn(tl.maximum(tl.max(tl.abs(value), axis=0), 1e-10), MAXIMUM)
    exponent = (raw.to(tl.int32, bitcast=True) + 0x7FFFFF) >> 23
    scale = (exponent << 23).to(tl.float32, bitcast=True)
    tl.store(codes + at, encode_fp8(value / scale, FORMAT, NATIVE))
    tl.store(scales + group, scale)


def quantise_groups(
    x: torch.Tensor,
    codes: torch.Tensor,
    scales: torch.Tensor,
    *,
    group_size: int,
    maximum: float,
    fp8: str,
    native: bool,
) -> None:
    """FP8 codes of contiguous [T, C] in groups, with power-of-two scales."""
    _group_kernel[(x.numel() // group_size,)](
        x, codes, scales, MAXIMUM=maximum, GROUP=group_size, FORMAT=fp8, NATIVE=native
    )  # fmt: skip


@triton.jit
def _gather_656_kernel(cache, target, table, starts, owner, width, FORMAT: tl.constexpr, NATIVE: tl.constexpr,
                       BLOCK_SIZE: tl.constexpr):  # fmt: skip
    """One program a token of 656 bytes."""
    token = tl.program_id(0).to(tl.int64)
    request = tl.load(owner + token)
    position = token - tl.load(starts + request)
    page = tl.load(table + request * width + position // BLOCK_SIZE).to(tl.int64)
    row = cache + (page * BLOCK_SIZE + position % BLOCK_SIZE) * 656
    dim, lane = tl.arange(0, 512), tl.arange(0, 64)
    scale = tl.load((row + 512).to(tl.pointer_type(tl.float32)) + dim // 128)
    value = decode_fp8(tl.load(row + dim), FORMAT, NATIVE).to(tl.float32) * scale
    tl.store(target + token * 576 + dim, value.to(tl.bfloat16))
    tl.store(target + token * 576 + 512 + lane, tl.load((row + 528).to(tl.pointer_type(tl.bfloat16)) + lane))


def gather_656(
    cache: torch.Tensor,
    target: torch.Tensor,
    table: torch.Tensor,
    starts: torch.Tensor,
    owner: torch.Tensor,
    *,
    fp8: str,
    native: bool,
) -> None:
    """bf16 rows of 656-byte tokens; contiguous tensors, every row owned, every page inside."""
    _gather_656_kernel[(len(target),)](
        cache, target, table, starts, owner, table.shape[1], FORMAT=fp8, NATIVE=native, BLOCK_SIZE=cache.shape[1]
    )  # fmt: skip
