"""Benches of the causal prefill of MLA in its multi-head form: FP8 along a plan against bf16 and against plain tiles.

The bf16 path attends to bf16 states of the same shape and distribution.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rocassay.harness.bench.bench import SHIPPED, Arguments, Bench, Call, Place, Traffic, register
from rocassay.harness.fp8 import decode_tensor, format_of
from rocassay.harness.gates import Verdict, Whitened
from rocassay.kernels.fp8_prefill.dispatch import BF16, PrefillPath, prefill_variant
from rocassay.kernels.fp8_prefill.mla_prefill_ps import QK_DIM, V_DIM, mla_prefill_ps
from rocassay.kernels.persistent.prefill_planner import TILE_Q, plan_prefill
from rocassay.references.fp8_prefill.attention import Rows, attend, with_output
from rocassay.suites.bench.draws import codes, compute_units, generator, normal

SOFTMAX_SCALE = QK_DIM**-0.5
SCALE = 8 / 448
"""Brings codes of an eighth of the scaling range to a standard deviation of 1."""

CHECKED_ROWS, CHECKED_HEADS = 6, 2
_WIDTHS = {"q": QK_DIM, "k": QK_DIM, "v": V_DIM}


@dataclass(frozen=True, slots=True)
class Prefill:
    """Requests of equal shape: `tokens` new ones behind `context` that an earlier chunk has cached."""

    name: str
    heads: int
    tokens: int
    context: int = 0
    requests: int = 1
    tile_q: int = TILE_Q

    @property
    def keys(self) -> int:
        """Keys of a request, those of its new tokens included."""
        return self.tokens + self.context

    @property
    def traffic(self) -> Traffic:
        """Queries, keys and values once in FP8, results in bf16; both products of every pair that is seen."""
        rows, keys = self.requests * self.tokens, self.requests * self.keys
        read = self.heads * (rows * QK_DIM + keys * (QK_DIM + V_DIM))
        pairs = self.requests * (self.tokens * self.context + self.tokens * (self.tokens + 1) // 2)
        return Traffic(read, 2 * rows * self.heads * V_DIM, 2 * pairs * self.heads * (QK_DIM + V_DIM), "fp8")

    def plan(self, where: Place) -> dict[str, torch.Tensor]:
        """The host planner's plan on one workgroup a compute unit."""
        qo, lengths = np.arange(self.requests + 1) * self.tokens, [self.keys] * self.requests
        plan = plan_prefill(
            qo, lengths, heads=self.heads, workers=compute_units(where.device), tile_q=self.tile_q,
            unit_kv=self.tile_q // 2,
        )  # fmt: skip
        arrays = {
            "work_indptr": plan.work_indptr,
            "work_info_set": plan.work_info,
            "reduce_indptr": plan.reduce_indptr,
            "reduce_final_map": plan.final_map,
            "reduce_partial_map": plan.partial_map,
        }
        rows = max(1, plan.num_partial_tiles) * self.tile_q
        return {
            **{name: torch.from_numpy(array).to(where.device) for name, array in arrays.items()},
            "split_data": torch.empty(rows, self.heads, V_DIM, device=where.device),
            "split_lse": torch.empty(rows, self.heads, device=where.device),
        }


def make_prefill(shape: Prefill, where: Place, count: int) -> list[Arguments]:
    """Codes and bf16 states of every set; the plan and its scratch are shared."""
    random, device = generator(where.device, 22), where.device
    rows, keys = shape.requests * shape.tokens, shape.requests * shape.keys
    lists = {
        "qo_indptr": torch.arange(shape.requests + 1, dtype=torch.int32, device=device) * shape.tokens,
        "kv_indptr": torch.arange(shape.requests + 1, dtype=torch.int32, device=device) * shape.keys,
    }
    scales = {f"{name}_scale": torch.tensor([SCALE], device=device) for name in _WIDTHS}
    plan = shape.plan(where)
    found: list[Arguments] = []
    for _ in range(count):
        output = torch.empty(rows, shape.heads, V_DIM, dtype=torch.bfloat16, device=device)
        common: dict[str, Any] = {
            **lists, "output": output, "max_seqlen_q": shape.tokens, "softmax_scale": SOFTMAX_SCALE,
        }  # fmt: skip
        extents = {name: (rows if name == "q" else keys, shape.heads, width) for name, width in _WIDTHS.items()}
        fp8 = {name: codes(random, extent, where.fp8) for name, extent in extents.items()}
        bf16 = {name: normal(random, extent) for name, extent in extents.items()}
        found.append(
            {
                "output": output,
                "split_data": plan["split_data"],
                "split_lse": plan["split_lse"],
                "planned": {**common, **fp8, **scales, **plan},
                "plain": {**common, **fp8, **scales},
                "bf16": {**common, **bf16},
            }
        )
    return found


def prefill_calls(shape: Prefill, where: Place) -> dict[str, Call]:
    """FP8 along the plan; bf16 in plain tiles; FP8 in plain tiles; FP8 with scores in NVIDIA's short FP8 sums."""

    def by(operands: str, fp8: str, path: PrefillPath, *, short_sums: bool = False) -> Call:
        asked: dict[str, Any] = {"heads": shape.heads, "path": path, "tile_q": shape.tile_q, "short_sums": short_sums}
        variant = prefill_variant(where.target, fp8=fp8, **asked)
        return lambda a: mla_prefill_ps(**a[operands], variant=variant)

    calls = {
        SHIPPED: by("planned", where.fp8, "persistent"),
        "bf16": by("bf16", BF16, "fallback"),
        "fp8 in plain tiles": by("plain", where.fp8, "fallback"),
    }
    if where.target.backend == "cuda":
        calls["fp8 in short sums"] = by("planned", where.fp8, "persistent", short_sums=True)
    return calls


def check_prefill(shape: Prefill, where: Place, a: Arguments, operands: str, plan: str) -> list[Verdict]:
    """Some rows of the first and last request, some heads, against the float64 golden of these operands."""
    heads = torch.tensor(sorted({0, shape.heads - 1}))[:CHECKED_HEADS]
    local = torch.linspace(0, shape.tokens - 1, CHECKED_ROWS).long().unique()
    scales = {"scale": SOFTMAX_SCALE, "value_scale": 1.0}
    if operands != "bf16":
        scales = {"scale": SOFTMAX_SCALE * SCALE**2, "value_scale": SCALE}
    verdicts: list[Verdict] = []
    for request in sorted({0, shape.requests - 1}):
        rows = request * shape.tokens + local
        keys = slice(request * shape.keys, (request + 1) * shape.keys)
        taken = {"q": rows.to(where.device), "k": keys, "v": keys}
        q, k, v = (_decoded(a[operands][name][part].cpu()[:, heads], where.fp8) for name, part in taken.items())
        seen = Rows(torch.arange(len(rows)), torch.arange(shape.keys), shape.context + local + 1)
        golden = attend(q, k, v, seen, plan=plan, **scales)
        sigma, bound = with_output(golden, torch.bfloat16)
        every = torch.ones_like(golden.value, dtype=torch.bool)
        expected = Whitened(golden.value, sigma, bound, every, share=golden.share, model_holds=not golden.flat)
        verdicts += expected.judge("output", a["output"].cpu()[rows][:, heads])
    return verdicts


def _decoded(stored: torch.Tensor, fp8: str) -> torch.Tensor:
    return decode_tensor(stored.contiguous(), format_of(fp8)) if stored.dtype is torch.uint8 else stored


def rival_checks(shape: Prefill) -> dict[str, Any]:
    """Rivals round their weights to other types, and one attends to other operands."""
    return {
        "bf16": functools.partial(check_prefill, shape, operands="bf16", plan="bf16"),
        "fp8 in plain tiles": functools.partial(check_prefill, shape, operands="plain", plan="fp16"),
        "fp8 in short sums": functools.partial(check_prefill, shape, operands="planned", plan="fp8"),
    }


def bench_of(shape: Prefill) -> Bench:
    """The bench of a shape."""
    return Bench(
        op="mla_prefill_ps",
        name=shape.name,
        traffic=shape.traffic,
        make=functools.partial(make_prefill, shape),
        implementations=functools.partial(prefill_calls, shape),
        outputs=("output", "split_data", "split_lse"),
        check=functools.partial(check_prefill, shape, operands="planned", plan="fp8"),
        rival_checks=rival_checks(shape),
        shape={"requests": shape.requests, "tokens": shape.tokens, "context": shape.context, "heads": shape.heads},
    )


PREFILLS: Sequence[Prefill] = (
    Prefill("h16-new4k", 16, 4096),
    Prefill("h128-new4k", 128, 4096),
    Prefill("h16-4k-behind-16k", 16, 4096, context=16384),
    Prefill("h128-4k-behind-16k", 128, 4096, context=16384),
    Prefill("h16-4x1k-behind-4k", 16, 1024, context=4096, requests=4),
)

for _prefill in PREFILLS:
    register(bench_of(_prefill))
