"""Operands of benches, drawn on the device: random everywhere, since zeros run faster than data."""

from __future__ import annotations

import torch

from rocassay.harness.bench.bench import Arguments
from rocassay.harness.fp8 import format_of
from rocassay.harness.layouts import planar_584

PRODUCTION = "production Triton"
"""Whose the reference times are."""

H200 = "H200"
"""Where they were taken."""

_FP8 = {"e4m3fn": torch.float8_e4m3fn, "e4m3fnuz": torch.float8_e4m3fnuz}
_FEW_UNITS = 4
_CHUNK = 2**26
"""Codes drawn at a time: their fp32 parents take four times as many bytes."""

_UNIT_EXPONENT = {"e4m3fn": 121, "e4m3fnuz": 122}
"""ue8m0 byte that brings codes of an eighth of the scaling range to a standard deviation near 1."""


def generator(device: torch.device, seed: int) -> torch.Generator:
    """A generator of its own: no global state."""
    return torch.Generator(device).manual_seed(seed)


def compute_units(device: torch.device) -> int:
    """Compute units of a device; a handful where there is none."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count) if device.type == "cuda" else _FEW_UNITS


def codes(random: torch.Generator, shape: tuple[int, ...], fp8: str) -> torch.Tensor:
    """uint8 codes of normal numbers whose standard deviation is an eighth of the scaling range."""
    count = 1
    for extent in shape:
        count *= extent
    out = torch.empty(count, dtype=torch.uint8, device=random.device)
    spread, most = format_of(fp8).scaling_max / 8, format_of(fp8).scaling_max
    for part in out.split(_CHUNK):
        drawn = torch.randn(part.shape, generator=random, device=random.device).mul_(spread).clamp_(-most, most)
        part.copy_(drawn.to(_FP8[fp8]).view(torch.uint8))
    return out.view(shape)


def normal(random: torch.Generator, shape: tuple[int, ...], dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Standard normal numbers, rounded to `dtype`."""
    return torch.randn(shape, generator=random, device=random.device).to(dtype)


def permutation(random: torch.Generator, count: int) -> torch.Tensor:
    """int32 permutation of range(count)."""
    return torch.randperm(count, generator=random, device=random.device).int()


def indexer_cache(random: torch.Generator, pages: int, block_size: int, fp8: str) -> torch.Tensor:
    """uint8 [pages, block_size, 132]: random codes and positive fp32 scales, each in its plane of the page."""
    cache = torch.empty(pages, block_size * 132, dtype=torch.uint8, device=random.device)
    cache[:, : block_size * 128] = codes(random, (pages, block_size * 128), fp8)
    scales = torch.rand(pages, block_size, generator=random, device=random.device).add_(0.5).mul_(2.0**-8)
    cache[:, block_size * 128 :] = scales.view(torch.uint8)
    return cache.view(pages, block_size, 132)


def planar_cache(random: torch.Generator, pages: int, block_size: int, fp8: str) -> torch.Tensor:
    """uint8 [pages, block_size, 584] with the stride of an allocation of its own: unit normal rows in groups."""
    stride = planar_584(block_size).default_block_stride
    flat = torch.zeros(pages, stride, dtype=torch.uint8, device=random.device)
    data = flat[:, : block_size * 576].unflatten(1, (block_size, 576))
    data[..., :448] = codes(random, (pages, block_size, 448), fp8)
    data[..., 448:] = normal(random, (pages, block_size, 64)).view(torch.uint8)
    scales = flat[:, block_size * 576 : block_size * 584].unflatten(1, (block_size, 8))
    shift = torch.randint(-1, 2, (pages, block_size, 7), generator=random, device=random.device)
    scales[..., :7] = (shift + _UNIT_EXPONENT[fp8]).to(torch.uint8)
    return flat.as_strided((pages, block_size, 584), (stride, 584, 1))


def windows(random: torch.Generator, lists: int, length: int, pool: int) -> torch.Tensor:
    """int32 [lists * length]: each list is a run of neighbouring rows of the pool, as a sliding window is."""
    first = torch.randint(pool // length, (lists, 1), generator=random, device=random.device) * length
    return (first + torch.arange(length, device=random.device)).int().flatten()


def choices(random: torch.Generator, lists: int, length: int, pool: int) -> torch.Tensor:
    """int32 [lists * length]: each list holds distinct rows of the pool in ascending strides with random offsets."""
    step = pool // length
    offset = torch.randint(step, (lists, length), generator=random, device=random.device)
    rows = torch.arange(length, device=random.device) * step + offset
    order = torch.rand(lists, length, generator=random, device=random.device).argsort(dim=1)
    return rows.gather(1, order).int().flatten()


def even_indptr(device: torch.device, lists: int, length: int) -> torch.Tensor:
    """int32 [lists + 1] of lists of equal length."""
    return torch.arange(lists + 1, dtype=torch.int32, device=device) * length


def on_host(operands: Arguments, *names: str) -> Arguments:
    """Copies of these operands on the CPU."""
    return {name: operands[name].cpu() for name in names}
