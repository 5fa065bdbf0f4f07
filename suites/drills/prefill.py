"""Faults of the prefill indexer: each changes exactly one thing and reads like the bug it re-creates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rocassay.harness.cases import Case
from rocassay.harness.faults import ChangeDispatch, ChangeSource, ChangeVariant, Fault, register
from rocassay.harness.faults.fault import Seam

LOGITS = "fp8_mqa_logits"
QUANT = "per_token_group_quant_fp8"
WEIGHTS = "indexer_weights"
LENS = "indexer_decode_lens"
WINDOWS = "indexer_prefill_windows"
KERNELS = "rocassay.kernels.prefill"
VALUES = frozenset({"bytes", "bound", "max-z", "worst-row", "nonfinite"})
"""Checks that compare an output with the golden."""
STRAY = VALUES | {"canary", "bounds"}
"""Those and the checks that see an access to foreign memory."""


def _fault(
    name: str,
    reference: str,
    summary: str,
    op: str,
    seam: Seam,
    applies: Callable[[Case], bool] = lambda _: True,
    caught_by: frozenset[str] = VALUES,
) -> Fault:
    return register(Fault(name, reference, summary, {op: seam}, applies, caught_by))


def _line(op: str, line: str, becomes: str) -> ChangeSource:
    return ChangeSource(f"{KERNELS}.{op}", line, becomes)


def by_request(case: Case) -> bool:
    """Decode lengths that stay a table by request."""
    return case["next_n"] in (1, 2) and case["adaptive"] == 0


def unclamped(case: Case) -> bool:
    """Windows that reach beyond the keys, where pitches keep what lies there within the guard bands."""
    return case["windows"] == "edges" and case.recipe in ("tagged", "padded")


INSIDE = "inside = (position[:, None] >= low[None, :]) & (position[:, None] < high[None, :])"

_fault(
    "prefill-window-leaks-to-tile",
    "ROCm/aiter fp8_mqa_logits: key tiles start at the window, others at multiples of the tile",
    "the lower end of a window is masked by the key tile it falls into: keys of the request in front leak in",
    LOGITS,
    _line(LOGITS, INSIDE, INSIDE.replace("low[None, :]", "(low // KV_TILE * KV_TILE)[None, :]")),
    lambda case: case.integer("keys") > 64 or case["windows"] == "causal",
)

_fault(
    "prefill-ke-inclusive",
    "vLLM v1/attention/ops/rocm_aiter_mla_sparse.py: ke is exclusive",
    "the upper end of a window is taken for inclusive: every row sees one key of its future",
    LOGITS,
    _line(LOGITS, INSIDE, INSIDE.replace("< high", "<= high")),
    lambda case: case.integer("keys") > 2,
    STRAY,
)

_fault(
    "prefill-scale-broadcast-along-rows",
    "vLLM rocm_fp8_mqa_logits: scale [N, 1] broadcast against [H, M, N]",
    "key scales of shape [N, 1] are broadcast along the rows: row m is scaled by the scale of key m",
    LOGITS,
    _line(
        LOGITS,
        "score = tl.sum(tl.reshape(weighted, [KV_TILE, ROWS, HEADS_PADDED]), axis=2) * scale[:, None]",
        "row_scale = tl.load(k_scale + row * scale_stride, mask=known & (row < columns), other=0.0)\n"
        "score = tl.sum(tl.reshape(weighted, [KV_TILE, ROWS, HEADS_PADDED]), axis=2) * row_scale[None, :]",
    ),
    lambda case: case.integer("keys") > 2,
)

_fault(
    "prefill-weights-of-first-row",
    "ROCm/aiter fp8_paged_mqa_logits: weights indexed by request instead of by row",
    "all rows of a program take the head weights of its first row",
    LOGITS,
    _line(
        LOGITS,
        "weight_base = row.to(tl.int64) * weights_stride",
        "weight_base = (row * 0 + first_row).to(tl.int64) * weights_stride",
    ),
    lambda case: case.integer("heads") <= 64 and case.integer("keys") > 1,
)

_fault(
    "prefill-weights-pitch-assumed",
    "vLLM fused indexer projection: weights are a slice of a wider row",
    "the pitch of the weights is rebuilt from the head count instead of taken from the tensor",
    LOGITS,
    _line(LOGITS, "weight_base = row.to(tl.int64) * weights_stride", "weight_base = row.to(tl.int64) * HEADS"),
    lambda case: case.recipe == "padded",
)

_fault(
    "prefill-output-pitch-assumed",
    "ROCm/aiter fp8_mqa_logits: the output is a view with its pitch rounded up to 256 columns",
    "the output is taken for contiguous [M, N] although its rows are padded",
    LOGITS,
    _line(LOGITS, "row_base = row.to(tl.int64) * output_stride", "row_base = row.to(tl.int64) * columns"),
    lambda case: case.integer("keys") > 1 and case.integer("keys") % 256 != 0,
    STRAY,
)

_fault(
    "prefill-ks-not-clamped",
    "ROCm/aiter fp8_mqa_logits clamps ks to 0",
    "windows that begin below key 0 are not clamped: memory in front of the keys and of the output is used",
    LOGITS,
    _line(
        LOGITS,
        "low = tl.maximum(tl.load(ks + row, mask=known, other=0), 0)",
        "low = tl.load(ks + row, mask=known, other=0)",
    ),
    unclamped,
    STRAY,
)

_fault(
    "prefill-ke-not-clamped",
    "ROCm/aiter fp8_mqa_logits clamps ke to N",
    "windows that end beyond the last key are not clamped: memory behind the keys and in the row's pitch is used",
    LOGITS,
    _line(
        LOGITS,
        "high = tl.minimum(tl.load(ke + row, mask=known, other=0), columns)",
        "high = tl.load(ke + row, mask=known, other=0)",
    ),
    lambda case: unclamped(case) and case.integer("rows") > 3 and case["clean"] == 0,
    STRAY,
)

_fault(
    "prefill-relu-after-head-sum",
    "DeepSeek-V3.2-Exp indexer: relu(q . k) comes before the head weights",
    "the ReLU is applied to the sum over heads instead of to every head's dot product",
    LOGITS,
    _line(
        LOGITS,
        "activated = tl.maximum(tl.dot(key, query, out_dtype=tl.float32), 0.0)",
        "activated = tl.dot(key, query, out_dtype=tl.float32)",
    ),
    lambda case: case.integer("keys") > 1,
)

_fault(
    "prefill-fnuz-read-as-ocp",
    "vllm-project/vllm#41812",
    "queries and keys are taken for e4m3fn whatever the platform's flavour: a factor of 4 that keeps every ranking",
    LOGITS,
    ChangeVariant(lambda variant: replace(variant, fp8="e4m3fn")),
    lambda case: case.fp8 == "e4m3fnuz" and case.integer("keys") > 1,
)

_fault(
    "prefill-key-offset-int32",
    "ROCm/aiter#4774",
    "key index times pitch is computed in 32 bits and wraps beyond 2^31",
    LOGITS,
    _line(LOGITS, "key_base = position.to(tl.int64) * key_stride", "key_base = position * key_stride"),
    lambda case: case.recipe == "wide",
    STRAY,
)

_fault(
    "prefill-logits-row-drop",
    "ROCm/aiter#4244",
    "stores at byte offsets of 2^31 and more are dropped: later rows are never written",
    LOGITS,
    _line(LOGITS, INSIDE, f"{INSIDE} & (row_base[None, :] * 4 < 2147483648)"),
    lambda case: case.recipe == "tall",
)

_fault(
    "q-ue8m0-rounding-missing",
    "ROCm/aiter#3451",
    "the key path rounds its scale up to a power of two, the query path does not",
    QUANT,
    _line(QUANT, "scale = _power_of_two_at_least(scale)", "scale = scale * 1.0"),
    lambda case: case["scale_fmt"] == "ue8m0",
)

_fault(
    "ue8m0-rounded-after-quantising",
    "sgl-project/sglang#28418",
    "values are divided by the exact scale, then only the stored scale is rounded up to a power of two",
    QUANT,
    _line(
        QUANT,
        "quotient = tl.div_rn(values, tl.broadcast_to(scale[:, None], GROUPS, GROUP_SIZE))",
        "quotient = tl.div_rn(values, tl.broadcast_to(tl.div_rn(amax, SCALING_MAX)[:, None], GROUPS, GROUP_SIZE))",
    ),
    lambda case: case["scale_fmt"] == "ue8m0",
)

AMAX = "amax = tl.maximum(tl.max(tl.abs(values), axis=1), 1e-10)"

_fault(
    "e8m0-zero-amax-block",
    "ROCm/aiter#4195",
    "the amax has no floor: a group of zeros gets scale 0 and NaN codes",
    QUANT,
    _line(QUANT, AMAX, "amax = tl.max(tl.abs(values), axis=1)"),
    lambda case: case.recipe != "ordinary",
)

_fault(
    "q-quant-floor-of-the-key-writer",
    "vLLM indexer: the query's amax is floored at 1e-10, the key's at 1e-4",
    "the query quantiser takes the key writer's floor: small queries lose their bits",
    QUANT,
    _line(QUANT, AMAX, AMAX.replace("1e-10", "1e-4")),
    lambda case: case.recipe != "ordinary",
)

_fault(
    "q-quant-fnuz-scaled-to-240",
    "vLLM get_fp8_min_max: FNUZ is scaled to 224, not to its largest finite value",
    "queries are scaled to 240, keys to 224: scales differ by 15/14, or by 2 where they are rounded up",
    QUANT,
    ChangeDispatch(lambda dispatch: replace(dispatch, quant_fp8={**dispatch.quant_fp8, "e4m3fnuz": 240.0})),
    # At 224 * 2^k both make the same power of two of the scale.
    lambda case: case.fp8 == "e4m3fnuz" and case.recipe not in ("ordinary", "midpoints"),
)

_fault(
    "q-quant-flavour-ignored",
    "vllm-project/vllm#41812",
    "codes are e4m3fn whatever the platform's flavour, under scales of the platform's",
    QUANT,
    ChangeVariant(lambda variant: replace(variant, fp8="e4m3fn")),
    lambda case: case.fp8 == "e4m3fnuz",
)

_fault(
    "q-quant-row-offset-int32",
    "vllm-project/vllm#54019",
    "row times pitch is computed in 32 bits and wraps beyond 2^31",
    QUANT,
    _line(QUANT, "code_base = row * code_stride", "code_base = row.to(tl.int32) * code_stride"),
    lambda case: case.recipe == "wide",
    STRAY,
)

_fault(
    "decode-lens-compressed-before-offset",
    "ROCm/aiter fp8_paged_mqa_logits: one length a sequence, the rows before it taken for consecutive",
    "the request's length is compressed first and the row's offset subtracted from the result: one key is lost",
    LENS,
    _line(
        LENS,
        "row_length = tl.maximum(total[:, None] - after[None, :], 0) // RATIO",
        "row_length = tl.maximum(total[:, None] // RATIO - after[None, :], 0)",
    ),
    lambda case: by_request(case) and case["ratio"] != 1 and case["next_n"] == 2,
)

_fault(
    "decode-lens-by-row-compressed-before-offset",
    "vLLM v1/attention/backends/mla/indexer.py: lengths are divided after the token's offset",
    "the request's length is compressed first and the token's offset subtracted from the result",
    LENS,
    _line(
        LENS,
        "length = tl.maximum(total - later, 0) // RATIO",
        "length = tl.maximum(total // RATIO - later, 0)",
    ),
    lambda case: not by_request(case) and case["ratio"] != 1,
)

_fault(
    "decode-lens-not-clamped",
    "vLLM top_k_per_row_decode: a negative row length writes before the buffer",
    "a request shorter than the step gets a negative length",
    LENS,
    _line(
        LENS,
        "row_length = tl.maximum(total[:, None] - after[None, :], 0) // RATIO",
        "row_length = (total[:, None] - after[None, :]) // RATIO",
    ),
    lambda case: by_request(case) and case["next_n"] == 2 and case["ratio"] == 1 and case.integer("requests") > 2,
)

_fault(
    "decode-lens-flattened-always",
    "vLLM v1/attention/backends/mla/indexer.py: ROCm takes one and two tokens a step by request",
    "the native path is taken for one token a step only, two tokens are flattened",
    LENS,
    ChangeDispatch(lambda dispatch: replace(dispatch, native_next_n=frozenset({1}))),
    lambda case: by_request(case) and case["next_n"] == 2,
    frozenset({"dispatch", "crash"}),
)

_fault(
    "decode-lens-tail-stale",
    "vLLM v1/attention/backends/mla/indexer.py: the tail of the persistent buffer is zeroed",
    "rows beyond the step's tokens keep the lengths of an earlier step: a replayed graph scores stale requests",
    LENS,
    _line(LENS, "cleared = row < rows", "cleared = real"),
    lambda case: not by_request(case),
)

_fault(
    "decode-table-padding-page-stale",
    "vLLM v1/attention/backends/mla/indexer.py: the first column of padding rows is zeroed",
    "padding rows keep the first page of an earlier step, which may belong to nobody",
    LENS,
    _line(
        LENS,
        "padding = ((row >= used) & (row < rows))[:, None] & (column < tl.minimum(width, 1))[None, :]",
        "padding = (row < 0)[:, None] & (column < tl.minimum(width, 1))[None, :]",
    ),
    lambda case: not by_request(case),
)

_fault(
    "decode-row-of-next-request",
    "vLLM v1/attention/backends/mla/indexer.py: rows of a request begin at its query_start_loc",
    "the bisection treats a request's first row as the last of the one before",
    LENS,
    _line(
        LENS,
        "request = owner_of(query_start_loc, row, requests, real, STEPS)",
        "request = owner_of(query_start_loc, row - 1, requests, real, STEPS)",
    ),
    lambda case: not by_request(case) and case.integer("requests") > 1,
    STRAY,
)

_fault(
    "prefill-window-misses-own-key",
    "vLLM v1/attention/backends/mla/indexer.py: a token sees its own key",
    "a window ends before the token's own key: ke = g + p // ratio",
    WINDOWS,
    _line(WINDOWS, "seen = (position + 1) // RATIO", "seen = position // RATIO"),
    lambda case: case["ratio"] != 128,
)

_fault(
    "prefill-bases-not-compressed",
    "vLLM v1/attention/backends/mla/indexer.py: bases are running sums of compressed lengths",
    "a request's keys are taken to start at the running sum of uncompressed lengths",
    WINDOWS,
    _line(
        WINDOWS,
        "gathered = tl.load(seq_lens + request, mask=known, other=0) // RATIO",
        "gathered = tl.load(seq_lens + request, mask=known, other=0)",
    ),
    lambda case: case["ratio"] != 1,
)

_fault(
    "prefill-context-ignored",
    "vLLM v1/attention/backends/mla/indexer.py: positions include what was computed before the chunk",
    "positions count from the chunk's first token: keys of earlier chunks and of a cached prefix are not seen",
    WINDOWS,
    _line(
        WINDOWS,
        "position = total - (end - token)",
        "position = token - tl.load(query_start_loc + request, mask=real, other=0)",
    ),
    lambda case: case["ratio"] != 128,
)

_fault(
    "prefill-bases-carry-lost",
    "vLLM v1/attention/backends/mla/indexer.py: bases are one running sum over all requests",
    "the running sum restarts with every tile of requests",
    WINDOWS,
    _line(WINDOWS, "base += tl.sum(gathered, axis=0)", "base += 0 * tl.sum(gathered, axis=0)"),
    lambda case: case.integer("requests") > 64 and case["ratio"] != 128,
)

_fault(
    "prefill-key-of-next-request",
    "vLLM v1/attention/backends/mla/indexer.py: keys of a request begin at its cu_seqlen",
    "the bisection treats a request's first key as the last of the one before",
    WINDOWS,
    _line(
        WINDOWS,
        "owner = owner_of(cu_seqlen, key, requests, real, STEPS)",
        "owner = owner_of(cu_seqlen, key - 1, requests, real, STEPS)",
    ),
    lambda case: case.integer("requests") > 2 and case["ratio"] != 128,
)

_fault(
    "indexer-weights-without-query-scale",
    "ROCm/aiter#3451",
    "the weights do not carry the query's scale: rankings change wherever heads have different scales",
    WEIGHTS,
    _line(WEIGHTS, "scaled = weight * scale", "scaled = weight + scale * 0"),
    lambda case: case["rows"] != 0,
)

_fault(
    "indexer-weights-without-head-count",
    "DeepSeek-V3.2-Exp indexer: weights are normalised by n_heads^-1/2",
    "the normalisation by the number of heads is missing, which keeps every ranking",
    WEIGHTS,
    _line(WEIGHTS, "normalisation = head_dim**-0.5 * heads**-0.5", "normalisation = head_dim**-0.5"),
    lambda case: case["rows"] != 0,
)

_fault(
    "indexer-weights-without-head-dim",
    "DeepSeek-V3.2-Exp indexer: weights are normalised by head_dim^-1/2",
    "the softmax scale is missing, which keeps every ranking",
    WEIGHTS,
    _line(WEIGHTS, "normalisation = head_dim**-0.5 * heads**-0.5", "normalisation = heads**-0.5"),
    lambda case: case["rows"] != 0,
)

_fault(
    "indexer-weights-slice-taken-for-contiguous",
    "vLLM fused indexer projection: weights are a slice of [k | weights] rows",
    "the pitch of the weights is taken for their head count",
    WEIGHTS,
    _line(WEIGHTS, "weight_base = row * weights_stride", "weight_base = row * HEADS"),
    lambda case: case.recipe == "padded" and case.integer("rows") > 1,
)
