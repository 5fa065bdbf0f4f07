"""What AITER's kernel modules see of the machine: a chip, and nothing of AITER's compiled modules."""

from __future__ import annotations

from typing import Any

from rocassay.harness.arch import profile
from rocassay.harness.cases import Case
from rocassay.harness.providers.foreign import fp8_dtype
from rocassay.harness.providers.functions import Gap
from rocassay.harness.providers.trees import Tree
from rocassay.harness.providers.world import World

TRITON = "aiter.ops.triton"
NAMES = ("pa_mqa_logits", "fp8_mqa_logits", "rope", "fused_fp8_quant")
MODULES = (
    *(f"{TRITON}.{name}" for name in NAMES),
    *(f"{TRITON}._triton_kernels.{name}" for name in (*NAMES, "activation")),
)
"""What is executed of AITER; everything else is a facade."""

OTHER_FLAVOUR = Gap(
    when=lambda case: case.fp8 != profile(case.arch).fp8,
    reason="AITER's FP8 flavour is the chip's, and this one is not",
)


class _Logger:
    """Takes every message and keeps none."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def flavour(case: Case) -> frozenset[str]:
    """Its kernels convert the chip's FP8 by instructions."""
    return frozenset({case.fp8})


def world(tree: Tree, arch: str, fp8: str) -> World:
    """AITER's Triton modules on a chip of this arch, whose FP8 flavour is `fp8`."""
    dtype = fp8_dtype(fp8)
    facades: dict[str, dict[str, Any]] = {
        "aiter.dtypes": {"fp8": dtype},
        f"{TRITON}.utils.logger": {"AiterTritonLogger": _Logger},
        f"{TRITON}.utils._triton.arch_info": {"get_arch": lambda: arch},
        f"{TRITON}.utils.types": {"get_fp8_e4m3_dtype": lambda: dtype, "e4m3_dtype": dtype},
    }
    return World(tree, "aiter", MODULES, facades)
