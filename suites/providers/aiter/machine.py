"""What AITER's kernel modules see of the machine: a chip, and nothing of AITER's compiled modules."""

from __future__ import annotations

from typing import Any

import torch

from rocassay.harness.arch import profile
from rocassay.harness.cases import Case
from rocassay.harness.providers.foreign import fp8_dtype
from rocassay.harness.providers.functions import Gap
from rocassay.harness.providers.trees import Tree
from rocassay.harness.providers.world import World

TRITON = "aiter.ops.triton"
FOLDERS = {
    "pa_mqa_logits": "attention",
    "fp8_mqa_logits": "attention",
    "unified_attention_sparse_mla": "attention",
    "pa_prefill_sparse": "attention",
    "sparse_attention_dsv4": "attention",
    "rope": "rope",
    "fused_fp8_quant": "quant",
}
"""Module -> the folder in which it lies since the Triton operations were put into folders."""

MODULES = (
    f"{TRITON}._triton_kernels.activation",
    *(
        f"{TRITON}{kernels}{place}"
        for name, folder in FOLDERS.items()
        for kernels in (".", "._triton_kernels.")
        for place in (name, f"{folder}.{name}")
    ),
)
"""What is executed of AITER, as far as a release has it as a file; everything else is a facade."""

GLUON = tuple(f"{TRITON}._gluon_kernels.{arch}.attention.fp8_mqa_logits" for arch in ("gfx942", "gfx950"))
"""Kernels that nothing interprets; without them their launchers take the Triton kernel, as with older Tritons."""

OTHER_FLAVOUR = Gap(
    when=lambda case: case.fp8 != profile(case.arch).fp8,
    reason="AITER's FP8 flavour is the chip's, and this one is not",
)


def on_rocm() -> bool:
    """Whether this process has a ROCm device."""
    return torch.version.hip is not None and torch.cuda.is_available()


def compute_units(arch: str) -> int:
    """Compute units of the ROCm device that is here, else those that the arch's product has."""
    if on_rocm():
        return torch.cuda.get_device_properties(0).multi_processor_count
    return profile(arch).compute_units or 1


class _Logger:
    """Takes every message and keeps none."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def _fallback(*given: Any, fallback: Any = None) -> Any:
    """The configuration that a kernel has where none is tuned for it: the last argument, or that of this name."""
    return given[-1] if fallback is None else fallback


def flavour(case: Case) -> frozenset[str]:
    """Its kernels convert the chip's FP8 by instructions."""
    return frozenset({case.fp8})


def world(tree: Tree, arch: str, fp8: str) -> World:
    """AITER's Triton modules on a chip of this arch, whose FP8 flavour is `fp8`."""
    dtype = fp8_dtype(fp8)
    chip = {"get_arch": lambda: arch}
    facades: dict[str, dict[str, Any]] = {
        "aiter.dtypes": {"fp8": dtype},
        "aiter.jit.utils.chip_info": {"get_gfx": lambda: arch, "get_cu_num": lambda: compute_units(arch)},
        f"{TRITON}.utils.arch_info": chip,
        f"{TRITON}.utils._triton.arch_info": chip,
        f"{TRITON}.utils._triton.kernel_repr": {"make_kernel_repr": lambda *_, **__: None},
        f"{TRITON}.utils.device_info": {"get_num_sms": lambda: compute_units(arch)},
        f"{TRITON}.utils.logger": {"AiterTritonLogger": _Logger},
        # Without a device there is nothing to tune for: a kernel has its own fallback, or the first configuration.
        f"{TRITON}.utils.tuned_config_utils": {
            "autotune_configs": lambda _, configs: configs,
            "get_tuned_kernel_config": _fallback,
        },
        f"{TRITON}.utils.types": {"get_fp8_e4m3_dtype": lambda: dtype, "e4m3_dtype": dtype},
    }
    held = [name for name in MODULES if tree.holds(f"{name.replace('.', '/')}.py")]
    return World(tree, "aiter", held, facades, GLUON)
