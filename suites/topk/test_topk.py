"""Top-k and packing beside their cases: the power of the inputs, the peers, decisions, refusals and round trips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rocassay.harness.arch import Target
from rocassay.harness.arena import Placed
from rocassay.harness.cases import Case
from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.harness.fp8 import FORMATS
from rocassay.harness.inputs import Stream
from rocassay.harness.layouts import LayoutError
from rocassay.kernels.topk.dispatch import pack_variant, select_variant
from rocassay.kernels.topk.pack_seq import pack_seq
from rocassay.kernels.topk.ragged import as_integers, padding_bits
from rocassay.kernels.topk.top_k_per_row_decode import top_k_per_row_decode
from rocassay.kernels.topk.top_k_per_row_prefill import top_k_per_row_prefill
from rocassay.kernels.topk.unpack_seq import unpack_seq
from rocassay.suites.kernels import top_k_per_row_decode as decode
from rocassay.suites.kernels import top_k_per_row_prefill as prefill
from rocassay.suites.kernels.packed_inputs import PADS, random_rows
from rocassay.suites.kernels.topk_inputs import DATA, HALF_LIMIT, score_row

HIP = Target("gfx942", "hip", frozenset({"e4m3fnuz"}))
CUDA = Target("gfx950", "cuda", frozenset({"e4m3fn"}))
CPU = torch.device("cpu")
SELECTING = [case for suite in (prefill, decode) for case in suite.OP.cases("quick") if case.arch == "gfx942"]
TENSORS = ("logits", "starts", "ends", "indices")


def interpreted(launcher: Callable[..., None], *args: Any, **keywords: Any) -> None:
    with InterpreterEngine().session() as trace:
        launcher(*args, **keywords)
    assert trace.findings == []


@pytest.mark.parametrize("case", SELECTING, ids=str)
def test_every_case_but_the_short_ones_has_rows_that_must_discard_and_a_peer_that_is_right(case: Case) -> None:
    suite = prefill if case.op == prefill.NAME else decode
    operands = suite.inputs(case, Stream.of(case))
    expected = suite.golden(case, operands)["indices"]
    assert (expected.discarding(case.integer("k")) > 1) != (case["lengths"] == "short")
    placed = Placed(operands, CPU)
    suite.peer(case, placed.arguments())
    assert [v.detail for v in expected.judge("indices", placed.outputs()["indices"]) if not v.passed] == []


@pytest.mark.parametrize("case", [case for case in SELECTING if case["data"] == "ties"], ids=str)
def test_ties_reach_across_the_last_rank_and_come_in_replicas(case: Case) -> None:
    suite = prefill if case.op == prefill.NAME else decode
    expected = suite.golden(case, suite.inputs(case, Stream.of(case)))["indices"]
    longest = max(expected.scores, key=len)
    threshold = longest.sort(descending=True).values[case.integer("k") - 1]
    assert int((longest == threshold).sum()) > 1 + case.integer("k") - int((longest > threshold).sum())
    assert expected.replicas


def test_the_kinds_of_scores_are_what_they_claim() -> None:
    rows = {kind: score_row(Stream("kinds", kind), kind, 2000) for kind in DATA}
    assert len(set((rows["lowbits"].view(np.uint32) >> 10).tolist())) == 1
    assert (rows["negative"] < 0).all()
    assert (np.abs(rows["denormals"]) < np.finfo(np.float32).tiny).all()
    assert {0x0, 0x80000000} <= set(rows["denormals"].view(np.uint32).tolist())
    assert (np.abs(rows["huge"]) > HALF_LIMIT).all()
    assert np.isneginf(rows["huge"]).any()
    assert all((row <= DATA[kind].needle).all() for kind, row in rows.items())


@pytest.mark.parametrize(("columns", "splits"), [(12_288, 1), (199_999, 1), (200_000, 10), (1_048_576, 10)])
def test_a_row_is_cut_into_ten_parts_from_200_000_columns_on(columns: int, splits: int) -> None:
    variant = select_variant(HIP, columns=columns)
    assert (variant.splits, variant.path) == (splits, "split" if splits > 1 else "single")


@pytest.mark.parametrize("columns", [1, 1000, 4096, 12_289, 200_000])
@pytest.mark.parametrize(("target", "lanes"), [(HIP, 64), (CUDA, 32)])
def test_no_workgroup_is_larger_than_the_hardware_takes(target: Target, lanes: int, columns: int) -> None:
    variant = select_variant(target, columns=columns)
    assert 4 <= variant.num_warps <= 1024 // lanes
    assert variant.tile < 2**15, "one scan counts two kinds in 16 bits each"


def selection_arguments(**changes: Any) -> tuple[torch.Tensor, ...]:
    given = {
        "logits": torch.zeros(2, 8),
        "starts": torch.zeros(2, dtype=torch.int32),
        "ends": torch.full((2,), 8, dtype=torch.int32),
        "indices": torch.zeros(2, 4, dtype=torch.int32),
    }
    return tuple({**given, **changes}[name] for name in TENSORS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": torch.zeros(2, 8, dtype=torch.float16)}, "float16"),
        ({"indices": torch.zeros(2, 4, dtype=torch.int64)}, "int64"),
        ({"indices": torch.zeros(1, 4, dtype=torch.int32)}, "2 rows"),
        ({"indices": torch.zeros(2, 8, dtype=torch.int32)[:, ::2]}, "stride 2"),
    ],
)
def test_a_selection_that_the_kernel_cannot_honour_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        top_k_per_row_prefill(*selection_arguments(**changes), variant=select_variant(HIP, columns=8))


@pytest.mark.parametrize("candidates", [None, torch.zeros(1, 5, dtype=torch.int32), torch.zeros(4, 20)])
def test_the_split_path_refuses_missing_or_small_candidates(candidates: torch.Tensor | None) -> None:
    logits, lens, indices = torch.zeros(1, 16), torch.tensor([16], dtype=torch.int32), torch.zeros(1, 4).int()
    variant = select_variant(HIP, columns=16, splits=3)
    with pytest.raises(LayoutError, match="candidates"):
        top_k_per_row_decode(logits, lens, indices, next_n=1, variant=variant, candidates=candidates)


def test_lengths_per_row_must_be_next_n() -> None:
    logits, indices = torch.zeros(4, 16), torch.zeros(4, 4).int()
    lens, variant = torch.zeros(2, 3).int(), select_variant(HIP, columns=16)
    with pytest.raises(LayoutError, match="3 lengths"):
        top_k_per_row_decode(logits, lens, indices, next_n=2, variant=variant)


@pytest.mark.parametrize("kind", ["e4m3fn", "e4m3fnuz", "bf16", "fp32", "uint8"])
def test_unpacking_what_was_packed_gives_every_bit_back(kind: str) -> None:
    plain = {"bf16": torch.bfloat16, "fp32": torch.float32, "uint8": torch.uint8}
    dtype = plain[kind] if kind in plain else getattr(torch, FORMATS[kind].torch_name)
    lengths = torch.tensor([0, 5, 1, 0, 3], dtype=torch.int32)
    x, back = (random_rows(Stream("round trip", kind, n), (9, 2, 20), dtype) for n in range(2))
    packed = random_rows(Stream("packed", kind), (5, 6, 2, 20), dtype)
    variant = pack_variant(HIP, features=40)
    pad = {"pad_value": 1} if kind == "uint8" else {}
    interpreted(pack_seq, x, lengths, packed, variant=variant, **pad)
    interpreted(unpack_seq, packed, lengths, back, variant=variant)
    assert torch.equal(back.view(torch.uint8), x.view(torch.uint8))


@pytest.mark.parametrize(("kind", "pad"), PADS)
def test_the_padding_has_the_declared_bits(kind: str, pad: str) -> None:
    value, wanted = PADS[kind, pad]
    plain = {"bf16": torch.bfloat16, "fp32": torch.float32, "uint8": torch.uint8}
    dtype = plain[kind] if kind in plain else getattr(torch, FORMATS[kind].torch_name)
    bits = padding_bits(dtype, -torch.inf if value is None else value)
    assert bits.to_bytes(len(wanted), "little", signed=bits < 0) == wanted


@pytest.mark.parametrize("value", [-1, 256, 0.5, float("nan"), -torch.inf])
def test_bytes_are_padded_with_bytes_only(value: float) -> None:
    with pytest.raises(LayoutError, match="0 to 255"):
        padding_bits(torch.uint8, value)


def test_rows_that_differ_or_are_not_contiguous_are_refused() -> None:
    x, lengths, variant = torch.zeros(4, 6), torch.tensor([4]).int(), pack_variant(HIP, features=6)
    with pytest.raises(LayoutError, match="pass the same"):
        pack_seq(x, lengths, torch.zeros(1, 4, 5), variant=variant)
    with pytest.raises(LayoutError, match="pass the same"):
        unpack_seq(torch.zeros(1, 4, 6), lengths, x.half(), variant=variant)
    with pytest.raises(LayoutError, match="contiguous"):
        as_integers("x", torch.zeros(4, 6, 2).transpose(1, 2), 1)
    with pytest.raises(LayoutError, match="8 bytes"):
        as_integers("x", torch.zeros(4, 6, dtype=torch.float64), 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_padding_bits_are_torchs_own_conversion(dtype: torch.dtype):
    edges = [0.0, -0.0, torch.inf, -torch.inf, torch.nan, 3.4e38, 1e39, 65519.9, 65520.0, 1e-40, 1e-46, 1 + 2**-8]
    drawn = Stream("padding").gaussian(500) * np.exp2(Stream("exponents").integers(-140, 120, 500))
    for value in (*edges, *drawn.tolist()):
        scalar = torch.tensor([value], dtype=dtype)
        wanted = scalar.view(torch.int32 if dtype is torch.float32 else torch.int16)
        assert padding_bits(dtype, value) == int(wanted), value
