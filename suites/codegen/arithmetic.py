"""What each kernel computes with: the operands of its matrix instructions, and its conversions from and to FP8.

Repeated apart from the dispatchers on purpose: a path lost there shows here. A kernel that is not named multiplies no
matrices and converts no FP8 in hardware. Foreign flavours are converted by integers everywhere.
"""

from __future__ import annotations

from rocassay.harness.cases import Case
from rocassay.harness.codegen.declared import Arithmetic, declare
from rocassay.harness.codegen.text import Use

NOTHING = frozenset[Use]()
FP8, FP16, BF16 = (frozenset[Use]({use}) for use in ("fp8 product", "fp16 product", "bf16 product"))
WIDENS, NARROWS = (frozenset[Use]({use}) for use in ("widening", "narrowing"))


def unquantised(case: Case) -> bool:
    """A cache or operands of bf16."""
    words = dict(case.params)
    return words.get("kv_cache_dtype") == "auto" or "bf16" in (words.get("dtype"), words.get("kind"))


def quantised_keys_only(case: Case) -> bool:
    """bf16 queries on an FP8 cache."""
    return dict(case.params).get("dtype") == "mixed"


def half_precision(case: Case) -> bool:
    """Operands of fp16."""
    return dict(case.params).get("dtype") == "fp16"


def decided_for_cuda(case: Case) -> bool:
    """A launch as CUDA's dispatcher would make it."""
    return "cuda" in (dict(case.params).get("path"), dict(case.params).get("decided"))


def with_extra_cache(case: Case) -> bool:
    """A second cache, which holds e4m3fn whatever the first one holds."""
    return case.op == "sparse_attn_decode" and case.integer("extra") > 0


SCORES_KERNELS = ("_score_pages_kernel", "_score_windows_kernel")
# What the dispatcher decides for CUDA, products in fp16, on whatever executes it.
SCORES_OF_CUDA = declare(Arithmetic(SCORES_KERNELS, native=FP16 | WIDENS, foreign=FP16, when=decided_for_cuda))
SCORES = declare(Arithmetic(SCORES_KERNELS, native=FP8, foreign=FP16))
GLUON_SCORES = declare(Arithmetic(("_score_pages_gluon_kernel",), native=FP8, foreign=NOTHING))

CACHES = declare(
    Arithmetic(
        ("_concat_and_cache_mla_kernel", "_gather_and_maybe_dequant_cache_kernel"),
        native=NOTHING, foreign=NOTHING, when=unquantised,
    )
)  # fmt: skip
QUANTISERS = declare(
    Arithmetic(
        (
            "_concat_and_cache_ds_mla_kernel",
            "_concat_and_cache_mla_kernel",
            "_indexer_k_quant_and_cache_kernel",
            "_indexer_qk_rope_quant_and_cache_kernel",
            "_per_token_group_quant_fp8_kernel",
            "_quantize_and_insert_k_cache_kernel",
        ),
        native=NARROWS, foreign=NOTHING,
    )
)  # fmt: skip
GATHERS = declare(
    Arithmetic(
        ("_dequantize_and_gather_k_cache_kernel", "_gather_and_maybe_dequant_cache_kernel"),
        native=WIDENS, foreign=NOTHING,
    )
)  # fmt: skip

SPARSE_DECODE = ("_sparse_attn_decode_kernel", "_sparse_attn_decode_partial_kernel")
SPARSE_EXTRA = declare(
    Arithmetic(
        SPARSE_DECODE, native=BF16 | WIDENS, foreign=BF16 | WIDENS,
        when=lambda case: with_extra_cache(case) and case.arch == "gfx950",
    )
)  # fmt: skip
SPARSE = declare(Arithmetic(SPARSE_DECODE, native=BF16 | WIDENS, foreign=BF16))
SPARSE_PREFILL_FP16 = declare(
    Arithmetic(("_sparse_attn_prefill_kernel",), native=FP16, foreign=FP16, when=half_precision)
)
SPARSE_PREFILL = declare(Arithmetic(("_sparse_attn_prefill_kernel",), native=BF16, foreign=BF16))

MLA_DECODE = ("_mla_decode_persistent_kernel", "_mla_decode_split_kernel")
MLA_BF16 = declare(Arithmetic(MLA_DECODE, native=BF16, foreign=BF16, when=unquantised))
MLA_MIXED = declare(Arithmetic(MLA_DECODE, native=BF16 | WIDENS, foreign=BF16, when=quantised_keys_only))
# Scores are FP8 products; the values are widened, because their sums need more than FP8 probabilities.
MLA_FP8 = declare(Arithmetic(MLA_DECODE, native=FP8 | FP16 | WIDENS, foreign=FP16))

PREFILL_BF16 = declare(Arithmetic(("_mla_prefill_fallback_kernel",), native=BF16, foreign=BF16, when=unquantised))
PREFILL_FALLBACK = declare(Arithmetic(("_mla_prefill_fallback_kernel",), native=FP16 | WIDENS, foreign=FP16))
# The probabilities are rounded to FP8 for the second product.
PREFILL = declare(Arithmetic(("_mla_prefill_ps_kernel",), native=FP8 | NARROWS, foreign=FP16))
