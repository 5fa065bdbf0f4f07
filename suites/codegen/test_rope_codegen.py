"""What the machine code of the RoPE kernels must contain, checked by cross-compilation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rocassay.harness.arch import Target, profile
from rocassay.harness.codegen import CodeObject, captured, compile_launch
from rocassay.kernels.rope.apply_rope import apply_rope
from rocassay.kernels.rope.dispatch import rope_variant
from rocassay.kernels.rope.implementations import ROPES
from rocassay.kernels.rope.indexer_rope_forward import indexer_rope_forward, indexer_rope_variant
from rocassay.kernels.rope.inverse_rope import inverse_rope

TOKENS, HEADS = 128, 64
POSITIONS, CACHE = torch.zeros(TOKENS, dtype=torch.int64), torch.zeros(4096, 64)


def target(arch: str) -> Target:
    chip = "gfx950" if arch.startswith("sm") else arch
    return Target(chip, "cuda" if arch.startswith("sm") else "hip", profile(chip).native_fp8)


def heads(count: int, dim: int) -> torch.Tensor:
    return torch.zeros(TOKENS, count, dim, dtype=torch.bfloat16)


def rotation(arch: str, tensor: str, dim: int) -> list[CodeObject]:
    variant = rope_variant(target(arch), tensor=tensor, tokens=TOKENS, heads=HEADS)
    q, k = heads(HEADS, dim), heads(1, dim)
    outs = {"q_out": heads(HEADS, dim), "k_out": heads(1, dim)} if tensor == "v4" else {}
    return compiled(arch, lambda: apply_rope(POSITIONS, q, CACHE, k=k, variant=variant, **outs))


def inverse(arch: str) -> list[CodeObject]:
    variant = rope_variant(target(arch), tensor="v4", tokens=TOKENS, heads=HEADS)
    o, out = heads(HEADS, 512), heads(HEADS, 512)
    return compiled(arch, lambda: inverse_rope(o, POSITIONS, CACHE, variant=variant, out=out))


def functional_indexer(arch: str) -> list[CodeObject]:
    variant = indexer_rope_variant(target(arch), rope=ROPES["native"], tensor="v32_indexer", tokens=TOKENS, heads=HEADS)
    q, k = heads(HEADS, 128), heads(1, 128)[:, 0]
    return compiled(arch, lambda: indexer_rope_forward(POSITIONS, q, k, CACHE, variant=variant))


def compiled(arch: str, launcher: Callable[[], object]) -> list[CodeObject]:
    return [compile_launch(launch, arch) for launch in captured(launcher)]


KINDS: dict[str, Callable[[str], list[CodeObject]]] = {
    "neox in place": lambda arch: rotation(arch, "v32_indexer", 128),
    "gptj in place": lambda arch: rotation(arch, "mla", 64),
    "gptj functional": lambda arch: rotation(arch, "v4", 512),
    "inverse": inverse,
    "indexer": functional_indexer,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_every_kernel_fits_spills_nothing_and_moves_vectors(arch: str, kind: str) -> None:
    for built in KINDS[kind](arch):
        assert built.lds_bytes <= profile(arch).lds_bytes, built.kernel
        assert (built.spills, built.scratch_bytes) == (0, 0), built.kernel
        assert built.instructions(r"(global|buffer)_load_dwordx[24]"), built.kernel
        assert built.instructions(r"(global|buffer)_store_dwordx[24]"), built.kernel


@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_neighbours_are_parted_in_registers_without_lds(arch: str) -> None:
    (built,) = KINDS["gptj in place"](arch)
    assert not built.instructions(r"ds_(read|write)")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kernel_builds_for_hopper(kind: str) -> None:
    assert all(built.asm for built in KINDS[kind]("sm90"))
