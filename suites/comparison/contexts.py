"""Attention over more and more keys: the same cases, faults and seeds at every length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from rocassay.harness.cases import Case

LENGTHS = (128, 512, 2048, 8192, 32768)
"""Keys of the longest row."""

KEYS = {"planted": "padded", "random": "random"}
"""How keys are drawn, and the recipe: with needles at every edge, as the tiers have them, or as tests usually do."""

TEMPLATES = tuple(
    Case.parse(text)
    for text in (
        "sparse_attn_decode:gfx950:e4m3fn:bs64:path=auto,extra=2,lists=KEYS,sink=mixed,heads=16,splits=3:padded:s0",
        "sparse_attn_decode:gfx942:e4m3fnuz:bs256:path=single,extra=64,lists=KEYS,sink=mixed,heads=16,splits=1:padded:s0",
        "sparse_attn_prefill:gfx942:e4m3fnuz:bs1:dim=512,width=448,heads=16,lists=KEYS,sink=mixed:padded:s0",
        "mla_decode_fwd:gfx942:e4m3fnuz:bs1:"
        "chip=gfx942,path=exact,dtype=bf16,heads=16,qlen=1,keys=KEYS,workers=4,causal=1:padded:s0",
        "mla_decode_fwd:gfx950:e4m3fn:bs1:"
        "chip=gfx950,path=v1.2,dtype=fp8,heads=16,qlen=2,keys=KEYS,workers=4,causal=1:padded:s0",
    )
)
"""One pass and split, both chips with their own FP8 flavour, bf16 and FP8 queries."""


def at_length(template: Case, length: int, drawn: str) -> Case:
    """The case with so many keys, drawn as one of `KEYS`."""
    params = tuple((name, length if value == "KEYS" else value) for name, value in template.params)
    return replace(template, params=params, recipe=KEYS[drawn])


def cases(lengths: Iterable[int], drawn: str) -> Iterator[Case]:
    """Every template at every length."""
    for length in lengths:
        for template in TEMPLATES:
            yield at_length(template, length, drawn)
