"""AITER's adapters on the signatures of its last wheel and of its repository: what binds, and what is declined."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rocassay.harness.cases import Case, Selection
from rocassay.harness.ops import discover, op_named, select_cases
from rocassay.harness.providers.foreign import Foreign
from rocassay.references.persistent.mla_decode_fwd import Cache, peer_mla_decode_fwd
from rocassay.references.persistent.mla_reduce import peer_mla_reduce
from rocassay.suites.contracts.aiter import CONTRACT, mla
from rocassay.suites.providers.aiter import ADAPTERS, machine, provider
from rocassay.suites.providers.releases import (
    MAIN,
    WHEEL,
    Seen,
    Signatures,
    StandIn,
    called,
    forget,
    install,
    peers,
    written,
)

PARTS = {name: text.replace("dtype_q=None, dtype_kv=None", "").rstrip(", ") for name, text in
         MAIN["aiter.ops.attention"].items()}  # fmt: skip
RELEASES: dict[str, Signatures] = {
    "wheel": WHEEL,
    "main": MAIN,
    "parts": {**MAIN, "aiter.ops.attention": PARTS},
}
"""The third names the planner's types by part alone, as one did."""

HOST_HOOK = {"sizes of mla_plan, capped", "sizes of mla_prefill_ps_metadata", "mla_plan, wheel"}
"""Calls of the plan checkers' hook, and the planner whose policy nobody here has a model of."""


@pytest.fixture
def behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[StandIn]:
    """What lies behind an installed release, `main` unless the test says another."""
    discover()
    yield install(written(tmp_path, RELEASES[getattr(request, "param", "main")]), monkeypatch)
    forget()


def on(release: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("behind", [release], indirect=True)


def reason(text: str, who: Foreign | None = None) -> str | None:
    case = Case.parse(text)
    found = who or provider()
    return found.declines(op_named(case.op), case)


def only(behind: StandIn, name: str) -> Seen:
    found = [seen for seen in behind.seen if seen.name == name]
    assert len(found) == 1, (name, [seen.name for seen in behind.seen])
    return found[0]


K_64 = "indexer_k_quant_and_cache:gfx950:e4m3fn:bs64:tokens=33,scale_fmt=ue8m0,ratio=1:tagged:s0"
K_1 = K_64.replace("bs64", "bs1")
GATHER_64 = "cp_gather_indexer_k_quant_cache:gfx950:e4m3fn:bs64:lengths=edges,ratio=1:padded:s0"
PAGES_64 = (
    "fp8_paged_mqa_logits:gfx950:e4m3fn:bs64:heads=64,lengths=edges,lens=request,next_n=2,ratio=1,path=auto,"
    "scales=pow2:tagged:s0"
)
PAGES_1 = PAGES_64.replace("bs64", "bs1")
TOPK_512 = (
    "top_k_per_row_decode:gfx950:e4m3fn:bs1:data=ties,k=512,lengths=edges,lens=request,next_n=4,path=auto:tagged:s0"
)
DECODE = (
    "mla_decode_fwd:gfx950:e4m3fn:bs1:chip=gfx950,path=v1.2,dtype=bf16,heads=16,qlen=1,keys=cut,workers=4,"
    "causal=1:tagged:s0"
)
SPLIT = (
    "mla_decode_fwd:gfx950:e4m3fn:bs1:chip=gfx950,path=plain,dtype=fp8,heads=12,qlen=1,keys=few,workers=3,"
    "causal=1:tagged:s0"
)
PLAN = (
    "mla_plan:gfx950:e4m3fn:bs16:chip=gfx950,policy=v1.2,heads=16,dtype=bf16,qlen=2,requests=12,workers=256,splits=0,"
    "causal=1,ragged=1,keys=mixed:tagged:s0"
)
REDUCE = "mla_reduce:gfx942:e4m3fn:bs1:heads=16,tokens=4,dim=512,dtype=fp16,lse=yes,map=given,parts=mixed:tagged:s0"
PS_PLAN = "mla_prefill_ps_metadata:gfx942:e4m3fn:bs1:segments=31,heads=16,workers=304:tagged:s0"
LACKING = {
    K_64: "indexer_k_quant_and_cache of this release has no preshuffle",
    GATHER_64: "cp_gather_indexer_k_quant_cache of this release has no preshuffle",
    PAGES_64: "deepgemm_fp8_paged_mqa_logits of this release has no Preshuffle, KVBlockSize",
    TOPK_512: "top_k_per_row_decode of this release has no k, stable",
    DECODE: "mla_decode_fwd of this release has no page_size, return_lse",
    SPLIT: "mla_decode_fwd of this release has no return_lse",
    PLAN: "get_mla_metadata_v1 of this release has no kv_last_page_lens, work_info_set, page_size, dtype_q, dtype_kv",
    PS_PLAN: "this release has no get_ps_metadata_v1",
    REDUCE.replace("heads=16", "heads=24"): "mla_reduce_v1 of this release has no max_seqlen_q, num_kv_splits",
}


@on("wheel")
@pytest.mark.parametrize("text", LACKING)
def test_what_a_release_lacks_is_declined_by_its_name(behind: StandIn, text: str):
    assert reason(text) == LACKING[text]


@pytest.mark.parametrize("text", LACKING)
def test_a_release_that_has_it_runs_it(behind: StandIn, text: str):
    assert reason(text) is None


@on("wheel")
@pytest.mark.parametrize("text", [K_1, PAGES_1, REDUCE])
def test_what_every_release_has_runs_on_the_oldest(behind: StandIn, text: str):
    assert reason(text) is None


def test_binaries_of_another_tree_than_the_installed_one_are_declined(behind: StandIn, tmp_path: Path):
    other = provider(str(written(tmp_path / "other", MAIN)))
    said = "it is a binary of the amd-aiter that is installed, and the source is another"
    assert reason(K_64, other) == said
    assert reason(PAGES_1, other) == said, "and the older kernel does not stand in for it"
    assert reason(K_64, provider(str(tmp_path))) is None, "named by its folder it is the installed one"


def test_a_release_that_takes_another_call_is_not_declined_but_cannot_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    reduced = MAIN["aiter.ops.attention"]["mla_reduce_v1"].replace("partial_lse,", "partial_lse, sinks,")
    changed = {**MAIN, "aiter.ops.attention": {**MAIN["aiter.ops.attention"], "mla_reduce_v1": reduced}}
    discover()
    install(written(tmp_path, changed), monkeypatch)
    case, who = Case.parse(REDUCE), provider()
    said = who.unavailable(op_named(case.op), case)
    assert who.declines(op_named(case.op), case) is None
    assert said is not None
    assert (
        "mla_reduce_v1 of this release takes another call than ours: positional slot has another name: slot 3" in said
    )


@pytest.mark.parametrize(("text", "shuffled"), [(K_64, True), (K_1, None), (K_64.replace("ratio=1", "ratio=4"), None)])
def test_pages_of_several_tokens_are_shuffled_unless_a_compressor_wrote_them(
    behind: StandIn, text: str, shuffled: bool | None
):
    called(provider(), Case.parse(text))
    assert only(behind, "indexer_k_quant_and_cache").keywords.get("preshuffle") is shuffled


def test_pages_are_scored_as_tiles_of_their_size(behind: StandIn):
    called(provider(), Case.parse(PAGES_64))
    seen = only(behind, "deepgemm_fp8_paged_mqa_logits")
    assert seen.keywords == {"Preshuffle": True, "KVBlockSize": 64}
    assert (seen.named["ChunkK"], seen.named["kv_cache"].shape[1:]) == (256, (64, 1, 132))
    assert seen.named["q_fp8"].dtype is torch.float8_e4m3fn


@on("wheel")
def test_the_wheel_scores_tokens_without_those_words(behind: StandIn):
    called(provider(), Case.parse(PAGES_1))
    assert only(behind, "deepgemm_fp8_paged_mqa_logits").keywords == {}


def test_the_planner_of_decode_is_given_the_items_before_their_offsets(behind: StandIn):
    called(provider(), Case.parse(PLAN))
    seen = only(behind, "get_mla_metadata_v1")
    assert (seen.args[7].shape[1], seen.args[8].numel()) == (8, 257)
    assert seen.named["work_metadata_ptrs"].dtype is torch.uint64
    told = ("page_size", "kv_granularity", "max_seqlen_qo", "uni_seqlen_qo", "dtype_q", "dtype_kv")
    assert [seen.named[name] for name in told] == [16, 2, 2, -1, torch.bfloat16, torch.bfloat16]


@on("parts")
def test_a_planner_that_names_types_by_part_is_told_them_by_part(behind: StandIn):
    called(provider(), Case.parse(PLAN.replace("dtype=bf16", "dtype=fp8")))
    seen = only(behind, "get_mla_metadata_v1")
    assert seen.keywords["dtype_q_nope"] is seen.keywords["dtype_kv_nope"] is torch.float8_e4m3fn


def test_the_planner_of_prefill_is_given_the_offsets_before_the_items(behind: StandIn):
    called(provider(), Case.parse(PS_PLAN))
    seen = only(behind, "get_ps_metadata_v1")
    assert (seen.args[6].numel(), seen.args[7].shape[1]) == (305, 8)
    assert seen.named["block_size"] == 1
    assert torch.equal(seen.named["context_lens"], seen.named["pages_kv_indptr"].diff())


def decoded(**given: Any) -> tuple[None, torch.Tensor]:
    """What `mla_decode_fwd` promises, rows without a key left as they were; into other memory, as it may be."""
    names = ("qo_indptr", "kv_indptr", "kv_indices", "kv_last_page_lens")
    codes = given["kv_buffer"].dtype is not torch.bfloat16
    states = {n: given[n].view(torch.uint8) if codes else given[n] for n in ("q", "kv_buffer")}
    lists = {n: given[n] for n in names}
    cache = Cache(states["kv_buffer"], **lists, fp8="e4m3fn", causal=bool(given.get("causal", True)))
    result, lse = torch.full_like(given["o"], torch.nan), torch.full(given["o"].shape[:2], torch.nan)
    scales = {name: given[name] for name in ("sm_scale", "q_scale", "kv_scale")}
    heads = list(range(result.shape[1]))
    peer_mla_decode_fwd(states["q"], cache, result, heads, **scales, final_lse=lse)
    blind = lse == -torch.inf
    result[blind], lse[blind] = torch.nan, torch.nan
    given["o"].set_(result)
    return None, lse


@pytest.mark.parametrize("text", [DECODE, SPLIT, DECODE.replace("keys=cut", "keys=few")])
def test_decode_is_given_its_states_and_its_result_is_taken_from_wherever_it_lies(behind: StandIn, text: str):
    behind.functions["mla_decode_fwd"] = decoded
    case = Case.parse(text)
    found, wanted = called(provider(), case), peers(case)
    real = slice(None) if case["heads"] == 16 else slice(None, int(case["heads"]))
    for name in ("o", "final_lse"):
        assert torch.equal(found[name][:, real], wanted[name][:, real])
    seen = only(behind, "mla_decode_fwd").named
    assert seen["return_lse"] is True
    assert (seen["num_kv_splits"], seen["work_indptr"] is None) == ((3, True) if text == SPLIT else (None, False))


def reduced(**given: Any) -> None:
    """What `mla_reduce_v1` promises; its LSE of a row without a part is +inf."""
    lists = {name: given[name] for name in ("reduce_indptr", "reduce_final_map", "reduce_partial_map")}
    parts = (given["partial_output"], given["partial_lse"])
    peer_mla_reduce(
        *parts, lists["reduce_indptr"], lists["reduce_partial_map"], given["final_output"],
        reduce_final_map=lists["reduce_final_map"], final_lse=given["final_lse"], max_seqlen_q=0,
    )  # fmt: skip
    given["final_lse"][given["final_lse"] == -torch.inf] = torch.inf


@pytest.mark.parametrize(("behind", "added"), [("wheel", []), ("main", [4, 20])], indirect=["behind"])
def test_the_reduction_has_its_result_where_each_release_takes_it(behind: StandIn, added: list[int]):
    behind.functions["mla_reduce_v1"] = reduced
    case = Case.parse(REDUCE)
    found, wanted = called(provider(), case), peers(case)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    seen = only(behind, "mla_reduce_v1")
    between = [seen.named[name] for name in ("max_seqlen_q", "num_kv_splits") if name in seen.named]
    assert between[:1] == added[:1]
    assert all(count >= 15 for count in between[1:]), "no fewer splits than the largest group has parts"


def gathered(**given: Any) -> None:
    """`cp_gather_indexer_k_quant_cache` of pages of one token: every row is a request's, and every key has a page."""
    bounds = given["cu_seq_lens"].tolist()
    for row in range(len(given["dst_k"])):
        request = next(at for at in range(len(bounds) - 1) if bounds[at] <= row < bounds[at + 1])
        page = given["block_table"][request].tolist()[row - bounds[request]]
        assert page >= 0
        record = given["kv_cache"][page, 0]
        given["dst_k"][row], given["dst_scale"][row] = record[:128], record[128:]


@pytest.mark.parametrize("lengths", ["edges", "missing"])
def test_a_gather_that_takes_every_row_to_have_a_page_does_what_the_op_says(behind: StandIn, lengths: str):
    behind.functions["cp_gather_indexer_k_quant_cache"] = gathered
    cases = select_cases("quick", Selection(ops=frozenset({"cp_gather_indexer_k_quant_cache"})), corpus=False)
    case = next(case for case in cases if (case.fp8, case.block_size, case["lengths"]) == ("e4m3fn", 1, lengths))
    case = replace(case, arch="gfx950")
    found, wanted = called(provider(), case), peers(case)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def shape(seen: Seen) -> tuple[str, int, frozenset[str]]:
    return seen.name, len(seen.args), frozenset(seen.keywords)


def declared() -> dict[tuple[str, int, frozenset[str]], str]:
    return {
        (call.paths[0].partition(":")[2], len(call.positional), frozenset(k.name for k in call.keywords)): call.name
        for call in CONTRACT.of(["rocassay"])
        if call.name not in HOST_HOOK
    }


def test_the_adapters_make_the_declared_calls_and_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cases = select_cases("full", Selection(ops=frozenset(ADAPTERS)), corpus=False)
    made: set[tuple[str, int, frozenset[str]]] = set()
    for name, signatures in RELEASES.items():
        behind = install(written(tmp_path / name, signatures), monkeypatch)
        who, known = provider(), set[object]()
        for case in cases:
            op = op_named(case.op)
            if case.recipe in ("wide", "tall", "far") or who.declines(op, case) is not None:
                continue
            adapter = who.chosen(op, case)
            if (key := (adapter.source, adapter.uses(case))) not in known:
                known.add(key)
                called(who, case)
        forget()
        made |= {shape(seen) for seen in behind.seen}
    assert made == set(declared())


def test_each_release_s_folders_hold_what_is_executed():
    for signatures in (WHEEL, MAIN):
        triton = {module for module in signatures if ".triton" in module and "decode_sparse" not in module}
        assert triton <= set(machine.MODULES)


def test_calls_of_the_planner_s_releases_are_alternatives():
    assert [call.name for call in mla.PLAN] == ["mla_plan", "mla_plan, types by part"]
