"""What the gallery shows: defects of the field, the ops that they break, and what to look at."""

from __future__ import annotations

from dataclasses import dataclass

from rocassay.harness.errors import RocassayError


class UnknownExhibit(RocassayError, KeyError):
    """The gallery does not show this defect."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One defect."""

    fault: str
    """Its name in the catalogue of faults."""
    ops: tuple[str, ...]
    """Ops that are run, of those that it breaks."""
    upstream: str
    """What happened in production, in one sentence."""
    look: str
    """Where to look on the page, in one or two sentences."""
    both_flavours: bool = False
    """Run each chip with both FP8 flavours instead of with its own."""


EXHIBITS: tuple[Exhibit, ...] = (
    Exhibit(
        "idx-shuffle-at-bs1",
        ("indexer_k_quant_and_cache", "cp_gather_indexer_k_quant_cache", "indexer_forward"),
        "vLLM tiled the indexer's pages whatever their size, and a page of one token can only be linear: "
        "GSM8K fell from 0.9507 to 0.0129.",
        "In the error map only block size 1 is red, on both chips. Each op is first wrong at byte 16 of a token: "
        "the first 16 bytes lie in the same place in both layouts.",
    ),
    Exhibit(
        "idx-preshuffle-flag-mismatch",
        ("fp8_paged_mqa_logits",),
        "The reader took pages for tiled at block size 64 only, while the writer tiled every size above 1: "
        "scores of the other sizes were wrong.",
        "The error map is green at block sizes 1 and 64 and red between and beyond them, which is what a flag keyed on "
        "one size looks like; the green cases at red sizes are those of the ratio that has linear pages anyway.",
    ),
    Exhibit(
        "rope-not-inplace-fast-path",
        ("indexer_forward", "indexer_rope_forward"),
        "An indexer's fast path ignored what the RoPE returns and was given one that returns copies: "
        "queries and keys stayed as they were before the rotation.",
        "The red cases share one parameter, not a chip or a page size: the sentence under the counts names it. "
        "The first wrong element is dimension 0 of a query: the rotated part comes first.",
    ),
    Exhibit(
        "dsv4-hardcoded-float8e4nv",
        ("indexer_k_quant_and_cache", "fp8_paged_mqa_logits", "indexer_forward"),
        "Cache bytes were taken for e4m3fn whatever the platform's flavour: on an MI300X every value is off by a "
        "factor of two, which keeps every ranking and so hides from a test of the selection.",
        "The error map splits by flavour: e4m3fn stays green on both chips, e4m3fnuz is red. What sees it is the "
        "absolute gate of the logits and the bytes of the cache; no ranking is compared.",
        both_flavours=True,
    ),
    Exhibit(
        "dsv4-584B-planar-vs-interleaved",
        ("quantize_and_insert_k_cache", "dequantize_and_gather_k_cache"),
        "DeepSeek V4's page of 584 bytes a token keeps the data of all tokens first and their scales behind; "
        "read as interleaved, every token is scaled by what another one left there.",
        "Every block size of both ops is red. The writer's first wrong byte lies at offset 576 of the page, where the "
        "planar layout has token 1's data and the interleaved one token 0's scales.",
    ),
    Exhibit(
        "mla-page-stride-assumed-contiguous",
        ("quantize_and_insert_k_cache", "dequantize_and_gather_k_cache", "concat_and_cache_ds_mla"),
        "The page stride was rebuilt from the block size instead of being taken from the tensor: where pages are "
        "padded or layers interleaved, the neighbouring layer was read.",
        "The red cases share how the cache was placed: pages padded or far apart are red, dense ones green. The first "
        "wrong place lies in block 1, for block 0 begins where every stride begins.",
    ),
    Exhibit(
        "indexer-block-id-int32",
        ("indexer_k_quant_and_cache", "cp_gather_indexer_k_quant_cache", "indexer_forward"),
        "Block id times page stride was computed in 32 bits and wrapped beyond 2^31 bytes: "
        "crashes on large caches, or stale keys.",
        "Only cases of the recipe `wide`, whose pages lie beyond 2^31 bytes, are red. The safety matrix has the "
        "accesses out of bounds, and their rows in the case table name kernel, tensor and byte.",
    ),
    Exhibit(
        "empty-kv-split",
        ("sparse_attn_decode", "mla_decode_fwd", "mla_reduce"),
        "A part of the keys without any key for a query took part in the merge with whatever lay in its accumulator: "
        "decodes of short requests beside long ones were wrong.",
        "Beside the errors, the safety matrix is red where parts are cut otherwise or put in another order "
        "(`split-count`, `part-order`, `plan-change`): the result depends on what nobody may see.",
    ),
)
"""In the order of the index."""


def exhibit_named(name: str) -> Exhibit:
    """The exhibit of a defect; UnknownExhibit lists those that there are."""
    for exhibit in EXHIBITS:
        if exhibit.fault == name:
            return exhibit
    known = ", ".join(exhibit.fault for exhibit in EXHIBITS)
    raise UnknownExhibit(
        f"the gallery has no exhibit {name!r}; it shows {known}. `rocassay drill {name}` runs any fault"
    )
