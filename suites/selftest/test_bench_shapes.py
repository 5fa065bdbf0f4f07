"""The shipped benches at small shapes on the interpreter: right, judged by whoever can tell, and honestly counted."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch

from rocassay.harness.bench.bench import SHIPPED, Arguments, Bench, Place, discover
from rocassay.harness.bench.runner import poison
from rocassay.harness.engines.base import Trace, engine
from rocassay.harness.gates import Verdict
from rocassay.suites.bench import attention, fp8_prefill, indexer, memory, memory_caches, memory_ragged, persistent

INTERPRETER = engine("interpreter")
HERE = Place(torch.device("cpu"), INTERPRETER.target("gfx950"), "e4m3fn", 1 << 10)

DECODES = [
    persistent.Decode(3, 16, "bf16", 600, 100),
    persistent.Decode(3, 16, "fp8", 300, 70),
    persistent.Decode(2, 128, "bf16", 150, 40),
]
PREFILLS = [
    fp8_prefill.Prefill("whole", 2, 70, tile_q=32),
    fp8_prefill.Prefill("chunks", 2, 40, context=100, requests=2, tile_q=32),
]
DENSE = [
    memory.merge_bench(20, 4, 128),
    memory.rope_bench("mla", 40, 8, 64),
    memory.rope_bench("v32_indexer", 40, 8, 128),
    memory.quant_bench(16, 512),
    memory.top_k_bench("top_k_per_row_prefill", 2, 2048, 128),
    memory.top_k_bench("top_k_per_row_decode", 2, 2048, 128),
    *(memory_caches.gather_bench(kind, 2, 128) for kind in memory_caches.KINDS),
    memory_caches.planar_bench(2, 128),
    memory_caches.indexer_gather_bench(2, 128),
    memory_ragged.dense_bench(20, 100),
    memory_ragged.global_bench(20, 100, 2, 256),
    memory_ragged.paged_bench(3, 256),
]
"""Benches whose outputs are written whole."""

WRITES = [
    *(memory_caches.write_bench(kind, 100) for kind in ("584", *memory_caches.KINDS)),
    memory_caches.write_bench("656", 100, scattered=True),
]
MORE = [memory_ragged.combine_bench(2, 40, 1024, 64)]


def small(op: str, template: str, shape: object, module: Mapping[str, object]) -> Bench:
    """A shipped bench of `op` with operands, calls and judge of a small shape."""
    found = next(bench for bench in discover() if bench.id == f"{op}:{template}")
    make, calls, check = (functools.partial(module[name], shape) for name in ("make", "calls", "check"))  # type: ignore[arg-type]
    return replace(found, name=f"{template}-small", make=make, implementations=calls, check=check)


def judged_decode(_: persistent.Decode, where: Place, operands: Arguments) -> Sequence[Verdict]:
    return persistent.check_decode(where, operands)


OTHERS = [
    *(
        small(
            "mla_decode_fwd", "b8-h16-bf16", shape,
            {"make": persistent.make_decode, "calls": persistent.decode_calls, "check": judged_decode},
        )
        for shape in DECODES
    ),
    small(
        "mla_plan", "b8", persistent.Decode(5, 16, "bf16", 600, 100),
        {"make": persistent.make_plan, "calls": persistent.plan_calls, "check": persistent.check_plan},
    ),
    *(fp8_prefill.bench_of(shape) for shape in PREFILLS),
    small(
        "sparse_attn_prefill", "v32-q256", attention.Prefill("small", 2, 16, 576, 512, 24, 48),
        {"make": attention.make_prefill, "calls": attention.prefill_calls, "check": attention.check_prefill},
    ),
    small(
        "fp8_paged_mqa_logits", "b8x32k", indexer.Logits(2, 256),
        {"make": indexer.make_logits, "calls": indexer.logits_calls, "check": indexer.check_logits},
    ),
    *(bench for bench in discover() if bench.op == "empty_launch"),
]  # fmt: skip
EVERY = [*DENSE, *WRITES, *MORE, *OTHERS]
every = pytest.mark.parametrize("bench", EVERY, ids=lambda bench: bench.id)


def launched(bench: Bench, name: str, operands: Arguments) -> Trace:
    """One launch on poisoned outputs."""
    for output in bench.outputs:
        poison(operands[output])
    with INTERPRETER.session() as trace:
        bench.implementations(HERE)[name](operands)
    return trace


@every
def test_every_implementation_of_a_bench_is_right_at_a_small_shape(bench: Bench):
    operands = bench.make(HERE, 1)[0]
    for name in bench.implementations(HERE):
        trace = launched(bench, name, operands)
        judged = bench.rival_checks.get(name, bench.check)(HERE, operands)
        assert judged
        assert all(verdict.passed for verdict in judged), (name, [v.detail for v in judged if not v.passed])
        assert not trace.findings, name


@every
def test_no_judge_of_a_bench_takes_outputs_that_nobody_wrote(bench: Bench):
    operands = bench.make(HERE, 1)[0]
    for output in bench.outputs:
        poison(operands[output])
    for judge in (bench.check, *bench.rival_checks.values()):
        try:
            verdicts: Sequence[object] = [v for v in judge(HERE, operands) if not v.passed]
        except (IndexError, RuntimeError) as error:
            # Poison read as places lies outside of what they are places of.
            verdicts = [error]
        assert verdicts


@pytest.mark.parametrize("bench", DENSE, ids=lambda bench: bench.id)
def test_the_bytes_that_a_bench_declares_are_those_of_its_outputs(bench: Bench):
    operands = bench.make(HERE, 1)[0]
    assert bench.traffic.written == sum(operands[name].nbytes for name in bench.outputs)


@pytest.mark.parametrize("bench", WRITES, ids=lambda bench: bench.id)
def test_a_cache_writers_declared_bytes_are_those_that_it_changes(bench: Bench):
    operands = bench.make(HERE, 1)[0]
    cache = operands["cache"].view(torch.uint8)
    changed = torch.zeros(cache.shape, dtype=torch.bool)
    for fill in (0x55, 0xAA):
        cache.fill_(fill)
        with INTERPRETER.session():
            bench.implementations(HERE)[SHIPPED](operands)
        changed |= cache != fill
    assert bench.traffic.written == int(changed.sum())


@pytest.mark.parametrize("bench", [*DENSE, *WRITES], ids=lambda bench: bench.id)
def test_a_bench_declares_no_more_reads_than_its_kernels_make(bench: Bench):
    operands = bench.make(HERE, 1)[0]
    reads = launched(bench, SHIPPED, operands).reads
    assert reads is not None
    assert 0 < bench.traffic.read <= sum(reads.values())


@pytest.mark.parametrize("shape", DECODES, ids=lambda shape: shape.name)
def test_a_decodes_products_are_those_of_every_key_and_head(shape: persistent.Decode):
    pairs = sum(shape.lengths) * shape.heads
    assert shape.traffic.flops == 2 * pairs * (576 + 512)
    widths = {"bf16": 2, "fp8": 1}
    rows = sum(shape.lengths) + shape.batch * shape.heads
    assert shape.traffic.read - 4 * sum(shape.lengths) == rows * 576 * widths[shape.kind]


@pytest.mark.parametrize("shape", PREFILLS, ids=lambda shape: shape.name)
def test_a_prefills_products_are_those_of_every_pair_that_the_causal_mask_leaves(shape: fp8_prefill.Prefill):
    row, key = torch.arange(shape.tokens)[:, None], torch.arange(shape.keys)[None, :]
    pairs = shape.requests * int((key <= row + shape.context).sum())
    assert shape.traffic.flops == 2 * pairs * shape.heads * (192 + 128)


def test_a_skewed_batch_has_one_long_request():
    assert persistent.Decode(3, 16, "bf16", 900, 40).lengths == (900, 40, 40)
    assert {(d.batch, d.heads, d.kind) for d in persistent.DECODES} == {
        (batch, heads, kind) for batch in (1, 8, 64) for heads in (16, 128) for kind in ("bf16", "fp8")
    }
