"""Faults of the ragged builders: each changes exactly one thing and reads like the bug it re-creates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from rocassay.harness.cases import Case
from rocassay.harness.faults import ChangeInputs, ChangeSource, ChangeVariant, Fault, register
from rocassay.harness.faults.fault import Seam
from rocassay.harness.inputs import Operands
from rocassay.suites.kernels.combine_inputs import FIRST_REQUEST, requests_of

SLOTS, DENSE = "compute_global_topk_ragged_indices_and_indptr", "build_ragged_indices_from_dense"
COMBINE, COMBINE_RAGGED = "combine_topk_swa_indices", "combine_topk_swa_indices_ragged"
PAGES = "mla_paged_kv_metadata"
KERNELS = "rocassay.kernels.ragged"
BYTES = frozenset({"bytes"})

MAIN_TO_COMPRESSED = 4
"""Main tokens a compressed one in layers that rank: the page of the compressed cache is that much shorter."""

LENGTHS = {SLOTS: "lens", DENSE: "counts", COMBINE_RAGGED: "counts"}
"""Per op with bounds, what the row lengths are called in its launcher."""


def _fault(
    name: str,
    reference: str,
    summary: str,
    seams: Mapping[str, Seam],
    applies: Callable[[Case], bool],
    caught_by: frozenset[str] = BYTES,
) -> Fault:
    return register(Fault(name, reference, summary, seams, applies, caught_by))


def _source(op: str, line: str, becomes: str) -> dict[str, Seam]:
    return {op: ChangeSource(f"{KERNELS}.{op}", line, becomes)}


def _bounds(form: str) -> dict[str, Seam]:
    """The launcher line that makes the bounds, replaced in every op that has one."""
    seams: dict[str, Seam] = {}
    for op, lengths in LENGTHS.items():
        line = f"build_indptr({lengths}, indptr, variant)"
        seams |= _source(op, line, form.format(line=line, lengths=lengths))
    return seams


def _tokens(case: Case) -> bool:
    """Whether there is a row at all."""
    return case["tokens"] != 0 if case.op in (SLOTS, DENSE) else case["chunk"] != "idle"


def _rows(case: Case) -> bool:
    """Whether some row has an entry: without one, every wrong bound is 0 as well."""
    if case.op not in (SLOTS, DENSE):
        return _tokens(case)
    return _tokens(case) and case["topk" if case.op == SLOTS else "width"] != 0


def _chooses(case: Case) -> bool:
    """Whether the chunk's tokens choose compressed ones."""
    return _tokens(case) and case["topk"] != 0


def _keeps_holes(case: Case) -> bool:
    """Whether vLLM's rule leaves a hole among a row's entries."""
    return case["mode"] == "legacy" and case["rows"] == "holes" and case.integer("topk") > 1


def _positions(case: Case) -> list[int]:
    """Positions of a chunk's tokens."""
    return [prefix + i for query, prefix in requests_of(case) for i in range(query)]


def _ends_a_group(case: Case) -> bool:
    """Whether some token is the last of a group that is chosen because of it."""
    ratio, topk = max(1, case.integer("ratio")), case.integer("topk")
    return any(min((p + 1) // ratio, topk) != min(p // ratio, topk) for p in _positions(case))


_fault(
    "convert-invalid-to-zero",
    "vllm-project/vllm#45324",
    "an entry that names nothing becomes slot 0, a legal one, and is attended to",
    {
        **_source(
            SLOTS,
            "slot = tl.where(present, page * BLOCK_SIZE + local % BLOCK_SIZE, -1)",
            "slot = tl.where(present, page * BLOCK_SIZE + local % BLOCK_SIZE, 0)",
        ),
        **_source(
            COMBINE,
            "key = tl.where(present, base[:, None] + local.to(tl.int32), -1)",
            "key = tl.where(present, base[:, None] + local.to(tl.int32), tl.where(compressed, 0, -1))",
        ),
    },
    lambda case: _keeps_holes(case) if case.op == SLOTS else _chooses(case),
)

_fault(
    "req-id-longer-than-rows",
    "vllm-project/vllm#48611",
    "the grid is sized by the per-token array of the whole batch, the outputs by its decode rows",
    _source(SLOTS, "tokens = topk_indices.shape[0]", "tokens = token_to_req_indices.shape[0]"),
    _tokens,
    caught_by=frozenset({"bounds", "canary", "crash"}),
)

_fault(
    "ragged-indptr-item",
    "vllm-project/vllm#43898",
    "the number of entries is fetched from the device to cut the list to size: a stall at every step",
    _bounds("{line}\nindptr[0] = 0\nused = indptr[-1].item()"),
    _tokens,
    caught_by=frozenset({"host-sync"}),
)

_fault(
    "ragged-indptr-without-leading-zero",
    "vllm-project/vllm#41812",
    "the bounds are the inclusive sums alone: every row reads the next one's entries",
    _bounds("indptr[:-1] = {lengths}.cumsum(0)"),
    _tokens,
)

_fault(
    "ragged-indptr-exclusive",
    "vllm-project/vllm#41812",
    "exclusive sums follow the leading zero: every row starts where the one before it does",
    _bounds("{line}\nindptr[1:] -= {lengths}"),
    _rows,
)

_fault(
    "ragged-main-block-size",
    "vllm-project/vllm#41812",
    "positions are split by the main cache's block size: local 70 is looked for in page 0 instead of page 1",
    {
        SLOTS: ChangeInputs(
            lambda operands: replace(
                operands, scalars={"block_size": int(operands.scalars["block_size"]) * MAIN_TO_COMPRESSED}
            )
        )
    },
    _rows,
)


def _allocator_table(operands: Operands) -> Operands:
    table = operands.inputs["block_table"]
    pages = table[:, ::MAIN_TO_COMPRESSED] // MAIN_TO_COMPRESSED
    table = pages.clone(memory_format=torch.contiguous_format)
    return replace(operands, inputs={**operands.inputs, "block_table": table})


_fault(
    "kpool-advertised-block-size",
    "vllm-project/vllm#54359",
    "the allocator's table is handed over without being split into the kernel's pages: entries share slots",
    {SLOTS: ChangeInputs(_allocator_table)},
    _rows,
)

_fault(
    "ragged-padding-tokens-counted",
    "vllm-project/vllm#41812",
    "rows of tokens that are not valid are counted and packed with whatever request they name",
    _source(SLOTS, "valid = flag != 0", "valid = inside"),
    lambda case: _rows(case) and case.integer("tokens") > 5,
    frozenset({"bytes", "bounds", "crash"}),
)

_fault(
    "ragged-first-columns-only",
    "vllm-project/vllm#41812",
    "positions are counted in the first step of the column loop only",
    _source(SLOTS, "stop = columns", "stop = tl.minimum(columns, COLUMNS)"),
    lambda case: case["rows"] == "packed" and case.integer("topk") > 1024,
)

_fault(
    "ragged-other-contract",
    "vllm-project/vllm#41812",
    "holes are treated by the other rule: one drops what lies behind them, the other closes ranks",
    {SLOTS: ChangeVariant(lambda variant: replace(variant, strict=not variant.strict))},
    lambda case: case["rows"] == "holes" and case.integer("topk") > 1,
)

_fault(
    "ragged-num-rows-inclusive",
    "vllm-project/vllm#41812",
    "the index one beyond the last row is kept",
    _source(DENSE, "kept = kept & (value < num_rows)", "kept = kept & (value <= num_rows)"),
    lambda case: case["bound"] == "rows" and case.integer("width") > 2 and case["tokens"] != 0,
)

_fault(
    "ragged-length-not-clamped",
    "vllm-project/vllm#41812",
    "a length beyond the row takes the next row's entries along",
    _source(DENSE, "window = tl.minimum(length, columns)", "window = tl.minimum(length, columns + 5)"),
    lambda case: case.integer("tokens") > 1 and case.integer("width") > 0,
    frozenset({"bytes", "bounds", "canary", "crash"}),
)

_fault(
    "ragged-holes-verbatim",
    "vllm-project/vllm#41812",
    "rows are copied up to their length, holes included",
    {
        **_source(DENSE, "kept = value >= 0", "kept = value == value"),
        **_source(
            COMBINE_RAGGED,
            "kept = inside[:, None] & (key >= 0)",
            "kept = inside[:, None] & (column[None, :] < (chosen + listed_keys)[:, None])",
        ),
    },
    lambda case: case["tokens"] != 0 and case.integer("width") > 2 if case.op == DENSE else _chooses(case),
)


def _length_is_count(operands: Operands) -> Operands:
    values, lengths = operands.inputs["indices"], operands.inputs["lengths"]
    count = (values.to(torch.int32) >= 0).sum(dim=1).to(lengths.dtype)
    return replace(operands, inputs={**operands.inputs, "lengths": torch.minimum(lengths, count)})


_fault(
    "ragged-length-is-count",
    "vllm-project/vllm#41812",
    "a caller without lengths passes the number of entries: what lies behind that many columns is dropped",
    {DENSE: ChangeInputs(_length_is_count)},
    lambda case: case.integer("width") > 8 and case["tokens"] != 0,
)

_fault(
    "ragged-rank-forgets-earlier-columns",
    "vllm-project/vllm#41812",
    "ranks start again at each step of the column loop: later entries overwrite earlier ones",
    {
        **_source(DENSE, "packed += tl.sum(survivor, axis=1)", "packed = packed * 0"),
        **_source(COMBINE_RAGGED, "packed += tl.sum(survivor, axis=1)", "packed = packed * 0"),
    },
    lambda case: case.integer("width") > 1024,
)

_fault(
    "combine-chunk-global-request",
    "vllm-project/vllm#41812",
    "a request's workspace rows are found by its number in the batch instead of in the chunk",
    {
        op: ChangeSource(
            f"{KERNELS}.{op}",
            "base = request * rows_per_request",
            f"base = (request + {FIRST_REQUEST}) * rows_per_request",
        )
        for op in (COMBINE, COMBINE_RAGGED)
    },
    _tokens,
)

_fault(
    "combine-query-start-not-rebased",
    "vllm-project/vllm#41812",
    "the chunk's first query token is taken for token 0 of the batch",
    _source(COMBINE, "origin = tl.load(query_start_loc)", "origin = tl.load(query_start_loc) * 0"),
    _tokens,
)

_fault(
    "combine-window-off-by-one",
    "vllm-project/vllm#41812",
    "the window reaches W tokens back",
    _source(COMBINE, "reach = window_size - 1", "reach = window_size"),
    lambda case: max(_positions(case), default=0) >= case.integer("window"),
)

_fault(
    "combine-visible-exclusive",
    "vllm-project/vllm#41812",
    "the last token of a group does not see the group: position 3 sees none at ratio 4",
    _source(
        COMBINE,
        "chosen = tl.minimum((position + 1) // RATIO, topk)",
        "chosen = tl.minimum(position // RATIO, topk)",
    ),
    _ends_a_group,
)

_fault(
    "combine-gather-start-not-clamped",
    "vllm-project/vllm#41812",
    "the window reaches in front of the gathered raw tokens: into the compressed ones, as the CUDA version's does",
    _source(COMBINE, "window_start = tl.maximum(window_start, gather_start)", "window_start = window_start"),
    lambda case: _tokens(case) and (case["window"] != 1 or case["images"] != 0),
)

_fault(
    "combine-topk-unbounded",
    "vllm-project/vllm#41812",
    "compressed positions from N on are taken for raw tokens, as the CUDA version does",
    _source(COMBINE, "present = (local >= 0) & (local < compressed_rows)", "present = local >= 0"),
    _chooses,
)

_fault(
    "combine-first-128-tokens",
    "vllm-project/vllm#41812",
    "each of a request's 128 workers serves one token",
    _source(COMBINE, "inside = token < tokens", "inside = (token < tokens) & (token < 128)"),
    lambda case: case["chunk"] == "long",
)

# Pages of the dense decode


def _requests(case: Case) -> bool:
    return case["lengths"] != "none"


_fault(
    "sgl-page-size-in-kernel-metadata",
    "sgl-project/sglang#25556",
    "entries are token slots already, and the metadata still count them in pages: most of the context is not seen",
    _source(PAGES, "entries = tl.cdiv(length, PAGE)", "entries = tl.cdiv(length, BLOCK_SIZE)"),
    lambda case: _requests(case) and case["page"] != case.block_size,
)

_fault(
    "mla-last-page-len-full-seq",
    "vllm-project/vllm#31282, #38146",
    "the last page is as long as the whole request, although a page holds one token",
    _source(PAGES, "last = (tl.maximum(length, 1) - 1) % PAGE + 1", "last = length"),
    _requests,
)

_fault(
    "kpool-advertised-block-size",
    "vllm-project/vllm#54359",
    "blocks of the allocator are taken for pages of the kernel: pages of neighbouring blocks are the same ones",
    _source(
        PAGES,
        "page = block * PAGES_A_BLOCK + entry % PAGES_A_BLOCK",
        "page = block + entry % PAGES_A_BLOCK",
    ),
    lambda case: _requests(case) and case["page"] != case.block_size,
)

_fault(
    "mla-unused-rows-keep-stale-bounds",
    "vLLM v1/attention/backends/mla/rocm_aiter_mla.py: bounds behind the last request repeat its end",
    "rows that a graph was captured for and nobody uses keep an earlier batch's number of pages",
    _source(
        PAGES,
        "tl.store(counts + row, entries, mask=row < rows)",
        "tl.store(counts + row, entries, mask=row < requests)",
    ),
    lambda case: case["unused"] != 0,
)

_fault(
    "mla-table-pitch-is-its-width",
    "vLLM deepseek_v4 cache_utils.py",
    "block table rows are taken to be as far apart as they are wide, which a slice of a larger table is not",
    _source(
        PAGES,
        "table_row = block_table + request * table_stride",
        "table_row = block_table + request * table_width",
    ),
    lambda case: case.recipe == "padded" and _requests(case),
)
