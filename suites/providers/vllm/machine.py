"""What vLLM's kernel modules see of the machine: a ROCm platform of one chip, and nothing else of vLLM."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import triton
import triton.language as tl

from rocassay.harness.arch import profile
from rocassay.harness.providers.foreign import fp8_dtype
from rocassay.harness.providers.trees import Tree
from rocassay.harness.providers.world import World

OPS = "vllm.v1.attention.ops"
BACKENDS = "vllm.v1.attention.backends.mla"
QUANT = "vllm.model_executor.layers.quantization.utils"
ROPE = "vllm.model_executor.layers.rotary_embedding"
MODELS = "vllm.model_executor.models"
V32 = "vllm.models.deepseek_v32.common.kernels"

MODULES = (
    f"{OPS}.rocm_aiter_mla_sparse",
    f"{OPS}.common",
    f"{OPS}.triton_decode_attention",
    f"{OPS}.triton_merge_attn_states",
    f"{BACKENDS}.indexer",
    f"{BACKENDS}.rocm_aiter_mla",
    f"{QUANT}.fp8_utils",
    f"{QUANT}.quant_utils",
    f"{ROPE}.base",
    f"{ROPE}.common",
    f"{ROPE}.deepseek_scaling_rope",
    f"{MODELS}.deepseek_v2",
    V32,
    "vllm.models.deepseek_v4.amd.rocm",
    "vllm.models.deepseek_v4.common.ops.cache_utils",
    "vllm.model_executor.warmup.jit_warmup",
    "vllm.model_executor.warmup.jit_warmup_triton_helper",
    "vllm.utils.math_utils",
)
"""What is executed of vLLM; everything else is a facade."""


class Platform:
    """`vllm.platforms.current_platform` of a ROCm chip whose FP8 flavour is the case's."""

    device_type = "cuda"
    device_name = "rocm"

    def __init__(self, fp8: str) -> None:
        self._fp8 = fp8

    def is_rocm(self) -> bool:
        """It is."""
        return True

    def is_cuda_alike(self) -> bool:
        """False where vLLM asks: its compiled operations are not there, so that it takes its Triton kernels."""
        return False

    is_cuda = is_xpu = is_cpu = is_tpu = is_arch_support_pdl = is_cuda_alike

    def is_fp8_fnuz(self) -> bool:
        """Whether the chip's FP8 is that of gfx942."""
        return self._fp8 == "e4m3fnuz"

    def fp8_dtype(self) -> torch.dtype:
        """The chip's FP8."""
        return fp8_dtype(self._fp8)


class Workspace:
    """vLLM's workspace manager, which hands out the buffers that an adapter lays ready."""

    def __init__(self) -> None:
        self.ready: list[torch.Tensor] = []

    def get_simultaneous(self, *wanted: tuple[tuple[int, ...], torch.dtype]) -> list[torch.Tensor]:
        """The buffers, in order; they must be of the shapes and types that are asked for."""
        found, self.ready = self.ready, []
        assert [(tuple(tensor.shape), tensor.dtype) for tensor in found] == [(tuple(s), d) for s, d in wanted], wanted
        return found


class CustomOp(torch.nn.Module):
    """`vllm.model_executor.custom_op.CustomOp` of layers that are switched on, unless one says otherwise."""

    @classmethod
    def register(cls, _: str, **__: object) -> Callable[[type], type]:
        """Decorates a layer."""
        return lambda layer: layer

    @classmethod
    def enabled(cls) -> bool:
        """Whether the layer's forward for the platform is taken."""
        return True

    def forward(self, *args: Any, **keywords: Any) -> Any:
        """The forward for ROCm, or the one for every platform."""
        chosen: Any = self.forward_hip if self.enabled() else self.forward_native
        return chosen(*args, **keywords)


class _Logger:
    """Takes every message and keeps none."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def workspace_of(world: World) -> Workspace:
    """The workspace of a world."""
    return world.facades["vllm.v1.worker.workspace"]["current_workspace_manager"]()


def world(tree: Tree, arch: str, fp8: str) -> World:
    """vLLM's kernel modules on a chip of this arch, whose FP8 flavour is `fp8`."""
    workspace = Workspace()
    no = SimpleNamespace(**dict.fromkeys(("is_enabled", "is_mla_enabled", "is_rdna_aiter_enabled"), lambda: False))
    facades: dict[str, dict[str, Any]] = {
        # A model's file imports it, which takes a second and is asked for nothing.
        "transformers": {},
        "vllm.platforms": {"current_platform": Platform(fp8)},
        "vllm.platforms.rocm": {
            "_ON_GFX942": arch == "gfx942",
            "_ON_GFX950": arch == "gfx950",
            "on_gfx1250": lambda: False,
        },
        "vllm.triton_utils": {"triton": triton, "tl": tl, "HAS_TRITON": True},
        "vllm.logger": {"init_logger": lambda _: _Logger()},
        "vllm.model_executor.custom_op": {"CustomOp": CustomOp},
        "vllm.compilation.decorators": {"support_torch_compile": lambda model: model},
        "vllm.compilation.breakable_cudagraph": {"eager_break_during_capture": lambda function: function},
        "vllm.utils.torch_utils": {"direct_register_custom_op": lambda *_, **__: None},
        "vllm.utils.import_utils": {"has_cutedsl": lambda: False},
        "vllm.utils.deep_gemm": {"is_deep_gemm_e8m0_used": lambda: False},
        # Every request of a decode step is a decode, and where its keys are stored is another op's business.
        "vllm.v1.attention.backends.utils": {
            "split_decodes_and_prefills": lambda step, **_: (step.num_reqs, 0, step.num_actual_tokens, 0)
        },
        f"{BACKENDS}.compressor_utils": {"get_compressed_slot_mapping": lambda *_, **__: None},
        "vllm.v1.kv_cache_interface": {"is_quantized_kv_cache": lambda kind: kind.startswith("fp8")},
        "vllm.v1.worker.workspace": {"current_workspace_manager": lambda: workspace},
        "vllm._aiter_ops": {"rocm_aiter_ops": no},
    }
    return World(tree, "vllm", MODULES, facades)


def native_fp8(arch: str) -> str:
    """The FP8 flavour of a chip."""
    return profile(arch).fp8
