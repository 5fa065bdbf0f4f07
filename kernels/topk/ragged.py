"""What packing and unpacking share: where a request's rows begin, rows as integers, and the bits of a padding."""

# pyright: reportArgumentType=false
from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl

from rocassay.harness.fp8 import FORMATS, encode
from rocassay.harness.layouts import LayoutError

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}


@triton.jit
def request_range(lengths, request, requests, BATCH: tl.constexpr) -> tuple:
    """(first row, rows) of a request whose rows follow those of the requests before it."""
    index = tl.arange(0, BATCH)
    length = tl.load(lengths + index, mask=index < requests, other=0).to(tl.int64)
    earlier = index < request
    first_row = tl.sum(tl.where(earlier, length, 0), axis=0)
    rows = tl.sum(tl.where(index == request, length, 0), axis=0)
    return first_row, rows


def as_integers(name: str, tensor: torch.Tensor, leading: int) -> torch.Tensor:
    """The same memory as integers of the elements' size, dimensions behind the first `leading` ones made one.

    Never a copy: LayoutError for elements of another size than 1, 2 or 4 bytes, or for rows that are not contiguous.
    """
    size = tensor.element_size()
    if size not in _INTEGERS:
        raise LayoutError(f"{name} has elements of {size} bytes; packing moves 1, 2 or 4 bytes")
    contiguous = 1
    for count, stride in zip(reversed(tensor.shape[leading:]), reversed(tensor.stride()[leading:]), strict=True):
        if count > 1 and stride != contiguous:
            raise LayoutError(f"the rows of {name} have strides {tensor.stride()[leading:]}; make them contiguous")
        contiguous *= count
    shape = (*tensor.shape[:leading], contiguous)
    strides = (*tensor.stride()[:leading], 1)
    return tensor.view(_INTEGERS[size]).as_strided(shape, strides, tensor.storage_offset())


def padding_bits(dtype: torch.dtype, value: float) -> int:
    """Bits of one padding element, as a signed integer (unsigned for one byte).

    FP8 has no infinity: what is not finite becomes the format's NaN and what is too large saturates, so that a
    padding that is consumed after all shows. LayoutError for a byte outside 0..255 or a dtype that is not packed.
    """
    if dtype is torch.uint8:
        if value != value or not 0 <= value <= 255 or value != int(value):
            raise LayoutError(f"uint8 rows cannot be padded with {value}; pass an integer from 0 to 255")
        return int(value)
    for form in FORMATS.values():
        if dtype is getattr(torch, form.torch_name, None):
            finite = np.isfinite(value)
            return int(encode(np.array([value]), form, overflow="saturate")[0]) if finite else form.nan_code
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise LayoutError(f"rows of {dtype} are not packed; pass fp32, bf16, fp16, fp8 or uint8")
    # By numpy: a tensor made here would be an allocation of every call, and reading it back a wait.
    with np.errstate(over="ignore"):
        if dtype is torch.float16:
            return int(np.array(value, np.float16).view(np.int16))
        bits = np.array(value, np.float32).view(np.int32)
    return int(bits) if dtype is torch.float32 else _bf16_bits(int(bits.view(np.uint32)))


def _bf16_bits(bits: int) -> int:
    """fp32 bits rounded to the nearest even bf16, as a signed integer; NaN is torch's 0x7FC0."""
    if bits & 0x7FFFFFFF > 0x7F800000:
        return 0x7FC0
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return rounded - 0x10000 if rounded >= 0x8000 else rounded
