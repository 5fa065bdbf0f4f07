"""What the device itself can do, measured in the same run: copy bandwidth and matrix rates."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
from __future__ import annotations

from typing import Any

import torch

from rocassay.harness.arch import profile
from rocassay.harness.bench.bench import Place
from rocassay.harness.bench.timing import event_time
from rocassay.harness.engines.base import EngineUnavailable, engine
from rocassay.harness.engines.device import architecture_of

CUDA_DECISIONS = "gfx950"
"""Architecture whose decisions a CUDA device takes: its FP8 format is the OCP one, as theirs is."""

COPY_BYTES = 2**32
MATRIX = 8192
_TORCH_FP8 = {"e4m3fn": torch.float8_e4m3fn, "e4m3fnuz": torch.float8_e4m3fnuz}


def place() -> Place:
    """The device of this machine; EngineUnavailable, with the next step, where there is none."""
    device = engine("device")
    if not torch.cuda.is_available():
        raise EngineUnavailable(
            "bench measures times on a GPU and torch sees none; run it on a machine with a ROCm or CUDA device"
        )
    properties = torch.cuda.get_device_properties()
    arch = architecture_of(properties.gcnArchName) if torch.version.hip else CUDA_DECISIONS
    return Place(device.device, device.target(arch), profile(arch).fp8, int(properties.L2_cache_size))


def copy_bandwidth(device: torch.device, size: int = COPY_BYTES) -> float:
    """Bytes a second, read plus written, of a copy far larger than every cache."""
    source = torch.randint(256, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    timing = event_time(lambda: target.copy_(source))
    return 2 * size / (timing.median * 1e-6)


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int = MATRIX) -> float:
    """Operations a second, two a multiply-add, of a large square product on random data."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    one = torch.ones((), device=device)
    scaled: Any = torch._scaled_mm

    def multiply() -> object:
        if dtype.itemsize > 1:
            return torch.mm(a, b)
        return scaled(a, b.t(), one, one, out_dtype=torch.bfloat16)

    return 2 * size**3 / (event_time(multiply).median * 1e-6)


def matrix_rates(where: Place) -> dict[str, float]:
    """Rates by name: `bf16`, and `fp8` where this torch multiplies it on this device."""
    rates = {"bf16": matrix_rate(where.device, torch.bfloat16)}
    try:
        rates["fp8"] = matrix_rate(where.device, _TORCH_FP8[where.fp8])
    except (RuntimeError, ValueError):
        return rates
    return rates
