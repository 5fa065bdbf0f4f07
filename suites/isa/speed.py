"""How fast the machine-code engine is: `python -m rocassay.suites.isa.speed`.

Sparse attention over 128 keys, 16 heads, 512 dims and 64 of RoPE: 4 tokens (16 waves) and 64 tokens (256 waves), for
both chips, in one world and in two. Every output is judged before its time counts; times are after compilation.
"""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from rocassay.harness.arch import Target, profile
from rocassay.harness.engines.isa.codeobj import ARCHES, compiled
from rocassay.harness.engines.isa.launching import JUNK, Settings, execute
from rocassay.harness.engines.launch import Launch, intercepted
from rocassay.kernels.attention.dispatch import prefill_variant
from rocassay.kernels.attention.sparse_attn_prefill import sparse_attn_prefill
from rocassay.references.attention import sparse_attn_prefill as reference
from rocassay.suites.kernels.attention_inputs import per_head

KEYS, HEADS, DIM, WIDTH = 128, 16, 576, 512
SCALE = 0.05
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Speed:
    """One row: a chip, a number of tokens and of worlds."""

    arch: str
    tokens: int
    worlds: int
    waves: int
    instructions: int
    """Wave-instructions of all worlds."""
    seconds: float
    """Median of `ROUNDS` launches."""

    @property
    def rate(self) -> float:
        """Wave-instructions a second."""
        return self.instructions / self.seconds


def _tensors(tokens: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(7)
    rows = tokens * KEYS
    return {
        "q": torch.randn(tokens, HEADS, DIM, generator=draw).to(torch.bfloat16),
        "kv": torch.randn(rows, 1, DIM, generator=draw).to(torch.bfloat16),
        "ragged_indices": torch.randperm(rows, generator=draw).to(torch.int32),
        "ragged_indptr": torch.arange(0, rows + 1, KEYS, dtype=torch.int32),
    }


def measure(arch: str, tokens: int, worlds: int) -> Speed:
    """Judge one launch, then time it."""
    tensors = _tensors(tokens)
    output = torch.zeros(tokens, HEADS, WIDTH, dtype=torch.bfloat16)
    variant = prefill_variant(Target(arch, "hip", profile(arch).native_fp8), heads=HEADS, head_dim=DIM)
    launches: list[Launch] = []
    with intercepted(lambda launch, _: launches.append(launch)):
        sparse_attn_prefill(**tensors, output=output, scale=SCALE, variant=variant)
    code, settings = compiled(launches[0], arch), Settings(junk=JUNK[:worlds])
    outcome = execute(code, launches[0], settings)
    expected = per_head(reference.sparse_attn_prefill(**tensors, scale=SCALE, width=WIDTH, dtype=output.dtype))
    wrong = [verdict.detail for verdict in expected.judge("output", output) if not verdict.passed]
    if wrong or not outcome.clean:
        raise SystemExit(f"{arch}, {tokens} tokens: {(wrong or [str(outcome.findings[0])])[0]}")
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        execute(code, launches[0], settings)
        times.append(time.perf_counter() - begin)
    waves = tokens * code.num_warps
    return Speed(arch, tokens, worlds, waves, outcome.counts.total * worlds, statistics.median(times))


def rows() -> Iterator[Speed]:
    """Every combination."""
    for arch in ARCHES:
        for tokens in (4, 64):
            for worlds in (1, 2):
                yield measure(arch, tokens, worlds)


def main() -> None:
    """Print the table."""
    table = Table("arch", "tokens", "worlds", "waves", "wave-instructions", "ms a launch", "M wave-instructions/s")
    for one in rows():
        cells = (one.arch, one.tokens, one.worlds, one.waves * one.worlds, one.instructions)
        table.add_row(*map(str, cells), f"{1000 * one.seconds:.0f}", f"{one.rate / 1e6:.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
