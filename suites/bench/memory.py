"""Benches of memory-bound ops at sizes that fill a chip: merge, RoPE, group quantiser and top-k."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch

from rocassay.harness.bench.bench import SHIPPED, Arguments, Bench, Call, Place, Traffic, register
from rocassay.harness.gates import Verdict, Whitened
from rocassay.kernels.merge.dispatch import merge_variant
from rocassay.kernels.merge.merge_attn_states import merge_attn_states
from rocassay.kernels.prefill.dispatch import quant_variant
from rocassay.kernels.prefill.per_token_group_quant_fp8 import per_token_group_quant_fp8
from rocassay.kernels.rope.apply_rope import apply_rope
from rocassay.kernels.rope.cos_sin_cache import DEEPSEEK_V32, cos_sin_cache
from rocassay.kernels.rope.dispatch import rope_variant
from rocassay.kernels.topk.dispatch import select_variant
from rocassay.kernels.topk.top_k_per_row_decode import top_k_per_row_decode
from rocassay.kernels.topk.top_k_per_row_prefill import top_k_per_row_prefill
from rocassay.references.common.rounding import Modelled
from rocassay.references.merge import merge_attn_states as merge_reference
from rocassay.references.prefill import per_token_group_quant_fp8 as quant_reference
from rocassay.references.rope import apply_rope as rope_reference
from rocassay.references.topk import top_k_per_row_decode as decode_reference
from rocassay.references.topk import top_k_per_row_prefill as prefill_reference
from rocassay.suites.bench import naive_memory
from rocassay.suites.bench.draws import generator, normal
from rocassay.suites.bench.exactness import byte_verdict, same_bytes, some

FEW = 32
"""Tokens that a verification compares with the golden."""

GROUP = 128
POSITIONS = 16384


def _judged(output: str, model: Modelled, found: torch.Tensor, *, gate: bool = True) -> list[Verdict]:
    every = torch.ones_like(model.value, dtype=torch.bool)
    expected = Whitened(model.value, model.sigma, model.bound, every, share=model.share, model_holds=gate)
    return expected.judge(output, found)


def merge_bench(tokens: int, heads: int, dim: int) -> Bench:
    """Two parts of a chunked prefill, bf16, merged with their LSEs."""
    size = tokens * heads

    def make(where: Place, count: int) -> list[Arguments]:
        random, device = generator(where.device, 31), where.device
        return [
            {
                **{f"{part}_output": normal(random, (tokens, heads, dim)) for part in ("prefix", "suffix")},
                **{f"{part}_lse": normal(random, (heads, tokens), torch.float32) for part in ("prefix", "suffix")},
                "output": torch.empty(tokens, heads, dim, dtype=torch.bfloat16, device=device),
                "output_lse": torch.empty(heads, tokens, device=device),
            }
            for _ in range(count)
        ]

    def calls(where: Place) -> dict[str, Call]:
        variant = merge_variant(where.target, dtype="bfloat16", tokens=tokens, head_dim=dim)
        order = ("output", "output_lse", "prefix_output", "prefix_lse", "suffix_output", "suffix_lse")
        return {
            SHIPPED: lambda a: merge_attn_states(**a, variant=variant),
            "naive": lambda a: naive_memory.merge(*(a[name] for name in order)),
        }

    def check(_: Place, a: Arguments, *, modelled: bool) -> list[Verdict]:
        few = some(tokens, FEW)
        states = {f"{part}_output": a[f"{part}_output"].cpu()[few] for part in ("prefix", "suffix")}
        sums = {f"{part}_lse": a[f"{part}_lse"].cpu()[:, few] for part in ("prefix", "suffix")}
        golden = merge_reference.merge_attn_states(**states, **sums)
        return [
            *_judged("output", golden.output, a["output"].cpu()[few], gate=modelled),
            *_judged("output_lse", golden.lse, a["output_lse"].cpu()[:, few], gate=modelled),
        ]

    return Bench(
        op="merge_attn_states",
        name=f"t{tokens}-h{heads}",
        traffic=Traffic(size * (2 * 2 * dim + 8), size * (2 * dim + 4)),
        make=make,
        implementations=calls,
        outputs=("output", "output_lse"),
        check=functools.partial(check, modelled=True),
        # The naive kernel rounds in another order than the model has it: its errors stay below the same bound.
        rival_checks={"naive": functools.partial(check, modelled=False)},
        shape={"tokens": tokens, "heads": heads, "dim": dim},
    )


def rope_bench(tensor: str, tokens: int, heads: int, dim: int, rot: int = 64) -> Bench:
    """Queries and one key head, turned into other tensors, as the indexer's functional path does."""
    size = tokens * (heads + 1) * dim

    def make(where: Place, count: int) -> list[Arguments]:
        random, device = generator(where.device, 32), where.device
        table = cos_sin_cache(DEEPSEEK_V32, POSITIONS).to(device)
        found: list[Arguments] = []
        for _ in range(count):
            q, k = normal(random, (tokens, heads, dim)), normal(random, (tokens, 1, dim))
            positions = torch.randint(POSITIONS, (tokens,), generator=random, device=device)
            found.append(
                {
                    "positions": positions, "q": q, "k": k, "cos_sin_cache": table,
                    "q_out": torch.empty_like(q), "k_out": torch.empty_like(k),
                }
            )  # fmt: skip
        return found

    def calls(where: Place) -> dict[str, Call]:
        variant = rope_variant(where.target, tensor=tensor, tokens=tokens, heads=heads)

        def first_written(a: Arguments) -> None:
            for name in ("q", "k"):
                naive_memory.rotate(
                    a[name], a[f"{name}_out"], a["positions"], a["cos_sin_cache"], neox=variant.style == "neox"
                )

        return {SHIPPED: lambda a: apply_rope(**a, variant=variant), "naive": first_written}

    def check(where: Place, a: Arguments) -> list[Verdict]:
        few = some(tokens, FEW)
        variant = rope_variant(where.target, tensor=tensor, tokens=tokens, heads=heads)
        positions, q, k = (a[name].cpu()[few] for name in ("positions", "q", "k"))
        table = a["cos_sin_cache"].cpu()
        golden = rope_reference.apply_rope(positions, q, k, table, style=variant.style, span=variant.span)
        pairs = zip(("q_out", "k_out"), golden, strict=True)
        return [v for name, model in pairs if model for v in _judged(name, model, a[name].cpu()[few])]

    return Bench(
        op="apply_rope",
        name=f"{tensor}-t{tokens}-h{heads}",
        traffic=Traffic(2 * size + tokens * 8 + min(tokens, POSITIONS) * rot * 4, 2 * size),
        make=make,
        implementations=calls,
        outputs=("q_out", "k_out"),
        check=check,
        shape={"tokens": tokens, "heads": heads, "dim": dim, "rotated": rot},
    )


def quant_bench(tokens: int, columns: int) -> Bench:
    """Activations in groups of 128 with power-of-two scales."""
    size = tokens * columns

    def make(where: Place, count: int) -> list[Arguments]:
        random, device = generator(where.device, 33), where.device
        return [
            {
                "x": normal(random, (tokens, columns)),
                "x_q": torch.empty(tokens, columns, dtype=torch.uint8, device=device),
                "x_s": torch.empty(tokens, columns // GROUP, device=device),
            }
            for _ in range(count)
        ]

    def calls(where: Place) -> dict[str, Call]:
        variant = quant_variant(where.target, fp8=where.fp8)
        options: Mapping[str, Any] = {"maximum": variant.scaling_max, "fp8": where.fp8, "native": variant.native}
        return {
            SHIPPED: lambda a: per_token_group_quant_fp8(**a, group_size=GROUP, scale_fmt="ue8m0", variant=variant),
            "naive": lambda a: naive_memory.quantise_groups(a["x"], a["x_q"], a["x_s"], group_size=GROUP, **options),
        }

    def check(where: Place, a: Arguments) -> list[Verdict]:
        few = some(tokens, FEW)
        codes, scales = (torch.empty_like(a[name].cpu()[few]) for name in ("x_q", "x_s"))
        quant_reference.peer_per_token_group_quant_fp8(
            a["x"].cpu()[few], codes, scales, fp8=where.fp8, scale_fmt="ue8m0", group_size=GROUP
        )
        found = (a[name].cpu()[few] for name in ("x_q", "x_s"))
        return [byte_verdict(*three) for three in zip(("x_q", "x_s"), found, (codes, scales), strict=True)]

    return Bench(
        op="per_token_group_quant_fp8",
        name=f"t{tokens}-c{columns}",
        traffic=Traffic(2 * size, size + 4 * size // GROUP),
        make=make,
        implementations=calls,
        outputs=("x_q", "x_s"),
        check=check,
        shape={"tokens": tokens, "columns": columns, "group": GROUP},
    )


def top_k_bench(op: str, rows: int, columns: int, topk: int = 2048) -> Bench:
    """Rows of normal scores; torch.topk lists the same places in another order."""
    prefill = op == "top_k_per_row_prefill"

    def make(where: Place, count: int) -> list[Arguments]:
        random, device = generator(where.device, 34), where.device
        ends = torch.full((rows,), columns, dtype=torch.int32, device=device)
        bounds = {"row_starts": torch.zeros_like(ends), "row_ends": ends} if prefill else {"seq_lens": ends}
        return [
            {
                "logits": normal(random, (rows, columns), torch.float32),
                **bounds,
                "indices": torch.empty(rows, topk, dtype=torch.int32, device=device),
            }
            for _ in range(count)
        ]

    def calls(where: Place) -> dict[str, Call]:
        variant = select_variant(where.target, columns=columns)
        return {
            SHIPPED: (
                (lambda a: top_k_per_row_prefill(**a, variant=variant))
                if prefill
                else (lambda a: top_k_per_row_decode(**a, next_n=1, variant=variant))
            ),
            "torch.topk": lambda a: a["indices"].copy_(torch.topk(a["logits"], topk, sorted=False).indices),
        }

    def peer(_: Place, a: Arguments) -> None:
        if prefill:
            prefill_reference.peer_top_k_per_row_prefill(**a)
        else:
            decode_reference.peer_top_k_per_row_decode(**a, next_n=1)

    def same_scores(_: Place, a: Arguments) -> list[Verdict]:
        places = a["indices"].long()
        twice = int((places.sort(dim=1).values.diff(dim=1) == 0).sum())
        found, due = a["logits"].gather(1, places), torch.topk(a["logits"], topk).values
        wrong = int((found.sort(dim=1, descending=True).values != due).sum()) + twice
        detail = f"{wrong} scores are none of the largest, or listed twice"
        return [Verdict("scores", not wrong, detail, float(wrong), 0.0, "ties may go to either place")]

    return Bench(
        op=op,
        name=f"r{rows}x{columns // 1024}k",
        traffic=Traffic(rows * columns * 4, rows * topk * 4),
        make=make,
        implementations=calls,
        outputs=("indices",),
        check=same_bytes(("indices",), peer),
        rival_checks={"torch.topk": same_scores},
        shape={"rows": rows, "columns": columns, "topk": topk},
    )


BENCHES = (
    functools.partial(merge_bench, 4096, 128, 128),
    functools.partial(merge_bench, 4096, 16, 128),
    functools.partial(rope_bench, "mla", 8192, 128, 64),
    functools.partial(rope_bench, "v32_indexer", 8192, 64, 128),
    functools.partial(quant_bench, 8192, 7168),
    functools.partial(top_k_bench, "top_k_per_row_prefill", 256, 32768),
    functools.partial(top_k_bench, "top_k_per_row_prefill", 2048, 32768),
    functools.partial(top_k_bench, "top_k_per_row_decode", 64, 32768),
    functools.partial(top_k_bench, "top_k_per_row_decode", 64, 131072),
)

for _bench in BENCHES:
    register(_bench())
