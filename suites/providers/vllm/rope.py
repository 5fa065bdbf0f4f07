"""vLLM's RoPE on ROCm: the layers' forward, the fused Triton kernels of V3.2, and the Indexer that calls a layer."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from rocassay.harness.providers.foreign import Adapter, Call
from rocassay.harness.providers.functions import Gap, Offer
from rocassay.suites.providers.vllm.machine import MODELS, ROPE, V32

YARN = f"{ROPE}.deepseek_scaling_rope:DeepseekScalingRotaryEmbedding"
YARN_LAST = f"{ROPE}.deepseek_scaling_rope:DeepseekV4ScalingRotaryEmbedding"
PLAIN = f"{ROPE}.base:RotaryEmbedding"
INDEXER = f"{MODELS}.deepseek_v2:Indexer"

LAYERS = {"v32_indexer": YARN, "glm_indexer": PLAIN, "v4_attention": YARN_LAST, "v4_indexer": YARN_LAST}
"""Model tensor -> the layer that turns it; GLM has no YaRN."""

NEOX = ("v32_indexer",)
"""Tensors whose pairs are halves apart."""


def layer_of(call: Call, name: str, head_dim: int, *, enabled: bool = True) -> Any:
    """A layer of the named class, whose cache of cosines and sines is the case's."""
    kind: Any = call.function(name)
    layer = kind.__new__(kind)
    torch.nn.Module.__init__(layer)
    cache = call["cos_sin_cache"]
    shape = {"head_size": head_dim, "rotary_dim": cache.shape[-1], "is_neox_style": call.case["tensor"] in NEOX}
    ways = {"use_aiter": False, "use_flashinfer": False, "enabled": lambda: enabled}
    for attribute, value in {**shape, **ways, "cos_sin_cache": cache}.items():
        setattr(layer, attribute, value)
    return layer


def rotate(call: Call) -> None:
    """The layer's forward for ROCm, where that is no compiled operation: it returns new tensors."""
    q, name = call["q"], LAYERS.get(str(call.case["tensor"]), YARN_LAST)
    layer = layer_of(call, name, q.shape[-1], enabled=name != PLAIN)
    turned = layer(call.dense("positions"), q, call.get("k"))
    for out, rotated in zip(("q_out", "k_out"), turned, strict=True):
        if rotated is not None:
            call[out].copy_(rotated)


def rotate_fused(call: Call) -> None:
    """`fused_q` for queries and `fused_norm_rope` for the key, with next to nothing of what else they do."""
    q, cache, positions = call["q"], call["cos_sin_cache"], call.dense("positions").to(torch.int64)
    one = torch.ones(1, device=q.device)
    rest = q.new_zeros((*q.shape[:2], 16))
    fused_q = call.function(f"{V32}:fused_q")
    *_, turned = fused_q(positions, q, cache, None, None, rest, one, None, 0, 0, has_indexer=False, quantize_mqa=False)
    call["q_out"].copy_(turned)
    if (k := call.get("k")) is not None:
        latent, weight = rest[:, 0], rest.new_ones(16)
        normed = (latent, weight, 1e-6)
        chosen = torch.empty((len(q), 1), dtype=torch.int32, device=q.device)
        keys = (k[:, 0], cache, None, None, None, 1e-6, None, chosen)
        fused = call.function(f"{V32}:fused_norm_rope")
        fused(positions, *normed, *normed, *keys, has_indexer=False, k_pe_out=call["k_out"][:, 0])


def forward(call: Call, q: torch.Tensor, k: torch.Tensor, weights: torch.Tensor, rope: Any, scale: Any) -> Any:
    """`Indexer.forward` between its projections and its selection: q, k and weights as they leave it.

    The projections give `q` [T, H, D], `k` [T, D] and `weights` [T, H], the norm gives what it gets, and the
    quantiser of the queries gives the scale.
    """
    module, (_, heads, dim) = call.world.module(f"{MODELS}.deepseek_v2"), q.shape
    left = SimpleNamespace()

    def quantise(rows: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, Any]:
        left.q = rows.view(q.shape)
        return rows, scale

    def select(_: Any, __: Any, key: torch.Tensor, weighed: torch.Tensor) -> None:
        left.k, left.weights = key, weighed

    layer = SimpleNamespace(
        wq_b=lambda _: (q, None),
        wk_weights_proj=lambda _: (torch.cat([k, weights], dim=-1), None),
        k_norm=lambda key: key,
        indexer_op=select,
        n_head=heads,
        head_dim=dim,
        rope_dim=rope.rotary_dim,
        softmax_scale=dim**-0.5,
        n_head_scale=heads**-0.5,
        quant_block_size=128,
        scale_fmt="ue8m0",
        is_inplace_rope=rope.enabled(),
        use_fused_indexer_q=False,
    )
    with mock.patch.object(module, "per_token_group_quant_fp8", quantise):
        module.Indexer.forward(layer, q, q, call.get("positions"), rope)
    return left


def indexer_rope(call: Call) -> None:
    """`Indexer.forward` with the RoPE layer that the case's model holds; its weights and scales are of no account."""
    q, native = call["q"].clone(memory_format=torch.contiguous_format), call.case["rope"] == "native"
    rope = layer_of(call, PLAIN if native else YARN, call["cos_sin_cache"].shape[-1], enabled=not native)
    nothing = q.new_zeros(q.shape[:2])
    left = forward(call, q, call["k"], nothing, rope, nothing)
    for name in ("q", "k"):
        target = call[name] if call.get(f"{name}_out") is None else call[f"{name}_out"]
        target.copy_(getattr(left, name))


@dataclass(frozen=True, slots=True)
class Still:
    """A RoPE in place that turns nothing."""

    rotary_dim: int

    def enabled(self) -> bool:
        """Nothing that it returned would be taken."""
        return True

    def __call__(self, *_: torch.Tensor) -> None:
        """Leaves everything as it is."""


def indexer_weights(call: Call) -> None:
    """`Indexer.forward` with given scales of the queries, which themselves and whose RoPE are of no account."""
    weights, dim = call["weights"], call["head_dim"]
    q, k = (weights.new_zeros((*shape, dim)) for shape in (weights.shape, weights.shape[:1]))
    left = forward(call, q, k, weights, Still(dim), call["q_scale"])
    call["out"].copy_(left.weights)


IN_PLACE = Gap(
    params={"mode": ("inplace",)}, reason="on ROCm its layers turn in place by a compiled operation, if at all"
)
COMPILED = Gap(params={"rope": ("custom_op",)}, reason="the RoPE that turns in place is a compiled operation")
ONE = Gap(
    when=lambda case: case["keys"] == 0 and not str(case["tensor"]).startswith("v4"), reason="it turns two tensors"
)
EMPTY = Gap(params={"rows": (0,)}, reason="a step has at least one token")

ADAPTERS = {
    "apply_rope": (
        Adapter(f"{V32}:fused_q", rotate_fused, Offer(params={"tensor": ("mla",)}, gaps=(IN_PLACE,))),
        Adapter(YARN_LAST, rotate, Offer(gaps=(IN_PLACE, ONE))),
    ),
    "indexer_rope_forward": (Adapter(INDEXER, indexer_rope, Offer(gaps=(COMPILED,))),),
    "indexer_weights": (Adapter(INDEXER, indexer_weights, Offer(gaps=(EMPTY,))),),
}
