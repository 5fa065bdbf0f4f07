"""Faults of the indexer cache family: each changes exactly one thing and reads like the bug it re-creates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from rocassay.harness.cases import Case
from rocassay.harness.faults import ChangeDispatch, ChangeSource, ChangeVariant, Fault, register
from rocassay.harness.faults.fault import Seam
from rocassay.kernels.indexer.dispatch import IndexerDispatch
from rocassay.suites.kernels.indexer_inputs import edge_lengths

WRITE, GATHER, LOGITS = "indexer_k_quant_and_cache", "cp_gather_indexer_k_quant_cache", "fp8_paged_mqa_logits"
KERNELS = "rocassay.kernels.indexer"
VALUES = frozenset({"bytes", "bound", "max-z", "worst-row", "nonfinite"})
"""Checks that compare an output with the golden."""


def _fault(
    name: str,
    reference: str,
    summary: str,
    seams: Mapping[str, Seam],
    applies: Callable[[Case], bool],
    caught_by: frozenset[str] = VALUES,
    engines: frozenset[str] = frozenset(),
) -> Fault:
    return register(Fault(name, reference, summary, seams, applies, caught_by, engines))


def _longest(case: Case) -> int:
    """Keys of the longest request of a logits case."""
    length = case["lengths"]
    return max(edge_lengths(case.block_size)) if isinstance(length, str) else length


def _production(case: Case) -> bool:
    """One query token of 64 heads a request against an uncompressed cache."""
    plain = case["path"] == "auto" and case["ratio"] == 1 and case.recipe == "tagged"
    return plain and case["next_n"] == 1 and case["lengths"] == "edges"


def _always_shuffle(dispatch: IndexerDispatch) -> IndexerDispatch:
    return replace(dispatch, write_layout=lambda *_: "SHUFFLE", gather_layout=lambda *_: "SHUFFLE")


_fault(
    "idx-shuffle-at-bs1",
    "vllm-project/vllm#43781",
    "writer and gather tile every page, although a page of one token can only be linear",
    dict.fromkeys((WRITE, GATHER), ChangeDispatch(_always_shuffle)),
    lambda case: case.block_size == 1,
)

_fault(
    "idx-preshuffle-flag-mismatch",
    "vllm-project/vllm#43781",
    "the reader expects tiles only at block size 64, the writer tiles every size above 1",
    {LOGITS: ChangeDispatch(lambda dispatch: replace(dispatch, preshuffle=lambda size: size == 64))},
    lambda case: case.block_size not in (1, 64) and case["ratio"] == 1,
)


def _ratio_ignored(dispatch: IndexerDispatch) -> IndexerDispatch:
    by_size = dispatch.gather_layout
    return replace(dispatch, block_flat_arches=frozenset(), gather_layout=lambda block_size, _: by_size(block_size, 1))


_fault(
    "idx-c4a-blockflat-read-as-tiled",
    "vllm-project/vllm#50455",
    "the layout is keyed on the block size alone, so block-flat ratio-4 pages are read as tiles",
    dict.fromkeys((GATHER, LOGITS), ChangeDispatch(_ratio_ignored)),
    lambda case: case.block_size > 1 and case["ratio"] == 4,
)

_fault(
    "idx-nopreshuffle-token-table-on-block64",
    "ROCm/aiter#5591",
    "the block table is indexed per token and no offset within the block is added",
    {
        LOGITS: ChangeSource(
            f"{KERNELS}.{LOGITS}",
            "offset = position % BLOCK_SIZE",
            "column = position\noffset = position * 0",
        )
    },
    lambda case: case.block_size > 1,
    VALUES | {"crash"},
)

_fault(
    "idx-cp-gather-132B-alignment",
    "ROCm/aiter#2954",
    "16-byte vectors are addressed by offset // 16, which truncates in pages of 132 bytes",
    {
        GATHER: ChangeSource(
            f"{KERNELS}.{GATHER}",
            "row_start = page_base + value_row(offset, SHUFFLE)",
            "row_start = ((page_base + value_row(offset, SHUFFLE)) // 16) * 16",
        )
    },
    # Pages that lie far apart start at multiples of 16 bytes.
    lambda case: case.block_size == 1 and case.recipe != "wide",
)

_fault(
    "mqa-logits-lds-overflow-gfx942",
    "ROCm/aiter#3257",
    "the tile is sized for a part with 160 KiB of LDS: on gfx942 the kernel computes right but cannot be launched",
    {LOGITS: ChangeVariant(lambda variant: replace(variant, kv_tile=512))},
    # Pages of one key are staged without padding: 64 KiB to the byte.
    lambda case: _production(case) and (case.arch, case.fp8) == ("gfx942", "e4m3fnuz") and case.block_size > 1,
    frozenset({"codegen"}),
    # A CUDA device has other limits and compiles other code.
    frozenset({"interpreter"}),
)

_fault(
    "dsv4-hardcoded-float8e4nv",
    "vllm-project/vllm#41812",
    "cache bytes are taken for e4m3fn whatever the platform's flavour: a factor of 2 that keeps every ranking",
    {
        WRITE: ChangeVariant(lambda variant: replace(variant, fp8="e4m3fn")),
        # In Triton, as upstream: Gluon names the chip's own products and refuses another flavour.
        LOGITS: ChangeVariant(lambda variant: replace(variant, fp8="e4m3fn", kernel="triton")),
    },
    lambda case: case.fp8 == "e4m3fnuz",
)

_fault(
    "gfx950-two-kernel-fallback",
    "vllm-project/vllm#42062",
    "the guard of the single kernel names gfx942 only: gfx950 silently takes stage 1 plus a sum over heads",
    {LOGITS: ChangeDispatch(lambda dispatch: replace(dispatch, single_kernel_arches=frozenset({"gfx942"})))},
    lambda case: case.arch == "gfx950" and case["path"] == "auto" and case["ratio"] == 1,
    frozenset({"dispatch", "scratch"}),
)

SMALL_K = 16
"""A top-k far below every context, so that the columns beyond it matter."""

_fault(
    "stage1-logits-wrong-past-k",
    "vllm-project/vllm#39303",
    "beyond the top-k's length the two-kernel path returns the right logits in wrong columns: no set comparison at "
    "short contexts, where everything is selected, can see it",
    {
        LOGITS: ChangeSource(
            f"{KERNELS}.{LOGITS}",
            "source = share_base[:, None] + position[None, :]",
            f"swapped = (position >= {SMALL_K}) & ((position ^ 1) < limit)\n"
            "source = share_base[:, None] + tl.where(swapped, position ^ 1, position)[None, :]",
        )
    },
    lambda case: case["path"] == "two_kernel" and _longest(case) > SMALL_K + case.integer("next_n"),
)

_fault(
    "stage1-scratch-unfilled-past-k",
    "vllm-project/vllm#39303",
    "stage 1 stops at the top-k's length and the head sum reads what the scratch held before",
    {
        LOGITS: ChangeSource(
            f"{KERNELS}.{LOGITS}",
            "written = position[:, None] < limit[None, :]",
            f"written = (position[:, None] < limit[None, :]) & ((not PER_HEAD) | (position[:, None] < {SMALL_K}))",
        )
    },
    lambda case: case["path"] == "two_kernel" and _longest(case) > SMALL_K + case.integer("next_n"),
)

_fault(
    "mqa-logits-output-row-drop",
    "ROCm/aiter#4244",
    "stores at byte offsets of 2^31 and more are dropped: later rows are never written",
    {
        LOGITS: ChangeSource(
            f"{KERNELS}.{LOGITS}",
            "written = position[:, None] < limit[None, :]",
            "written = (position[:, None] < limit[None, :]) & (target * 4 < 2147483648)",
        )
    },
    lambda case: case.recipe == "tall",
)

PAGE_BASES = {
    WRITE: ("page_base = block * cache_block_stride", "block"),
    GATHER: ("page_base = page * cache_block_stride", "page"),
    LOGITS: ("page_base = page * cache_block_stride", "page"),
}
"""Per op, the line that addresses a page and the name of the page index in it."""

_fault(
    "paged-stride-assumed-contiguous",
    "ROCm/aiter#3498",
    "the page stride is rebuilt from the block size instead of taken from the tensor",
    {
        op: ChangeSource(f"{KERNELS}.{op}", line, f"page_base = {page} * (BLOCK_SIZE * 132)")
        for op, (line, page) in PAGE_BASES.items()
    },
    lambda case: case.recipe in ("padded", "wide"),
)

_fault(
    "indexer-block-id-int32",
    "vllm-project/vllm#46222",
    "block id times page stride is computed in 32 bits and wraps beyond 2^31",
    {
        op: ChangeSource(f"{KERNELS}.{op}", line, f"page_base = {page}.to(tl.int32) * cache_block_stride")
        for op, (line, page) in PAGE_BASES.items()
    },
    lambda case: case.recipe == "wide",
)
