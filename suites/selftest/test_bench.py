"""The bench: what it refuses to time, what it makes of times, and how it shows and keeps them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from rocassay.harness.arch import Target
from rocassay.harness.bench.bench import (
    SHIPPED,
    Arguments,
    Bench,
    BenchError,
    Call,
    Place,
    Reference,
    Traffic,
    discover,
    register,
    select,
)
from rocassay.harness.bench.machine import place
from rocassay.harness.bench.records import BenchRecord, MachineRecord, RivalTime, Time, append, read
from rocassay.harness.bench.runner import POISON, Runner, done_before, poison
from rocassay.harness.bench.table import machine_line, table
from rocassay.harness.bench.timing import (
    FEWEST_REPLAYS,
    MOST_CALLS,
    MOST_SETS,
    PATIENCE_MICROSECONDS,
    REPLAYS,
    Timing,
    calls_in_graph,
    replays_of,
    sets_needed,
    summarised,
)
from rocassay.harness.engines.base import EngineUnavailable
from rocassay.harness.environment import commit
from rocassay.harness.gates import ExactBytes, Verdict
from rocassay.harness.results import ResultsError
from rocassay.suites.selftest.children import Children

SIZE = 8
COPY, MATRIX = 4e12, 8e14
HERE = Place(torch.device("cpu"), Target("gfx950", "interpreter", frozenset({"e4m3fn"})), "e4m3fn", 1 << 10)
MACHINE = MachineRecord(
    run_id="run", started="2026-01-01T00:00:00+00:00", device="Chip 7000", copy_bandwidth=COPY,
    matrix_rates={"bf16": MATRIX}, last_level_bytes=1 << 20, versions={}, commit=commit(),
)  # fmt: skip


class Stopwatch:
    """A clock that runs every call once and takes what it was told to, call by call."""

    def __init__(self, *medians: float) -> None:
        self.medians, self.timed = list(medians), 0

    def __call__(self, calls: Sequence[Callable[[], object]]) -> Timing:
        """Run the calls, then say what was agreed."""
        for call in calls:
            call()
        self.timed += 1
        median = self.medians.pop(0)
        return Timing(median, 0.9 * median, 1.1 * median, 21, len(calls))


def host_clock(_: Callable[[], object]) -> Timing:
    return Timing(12.0, 11.0, 13.0, 9, 40)


def double(a: Arguments) -> None:
    torch.mul(a["x"], 2, out=a["out"])


def forgetful(a: Arguments) -> None:
    torch.mul(a["x"][:-1], 2, out=a["out"][:-1])


def off_by_one(a: Arguments) -> None:
    torch.add(2 * a["x"], 1, out=a["out"])


def broken(_: Arguments) -> None:
    raise ValueError("no such kernel")


def doubled(_: Place, a: Arguments) -> list[Verdict]:
    return ExactBytes(2 * a["x"]).judge("out", a["out"])


def any_value(_: Place, a: Arguments) -> list[Verdict]:
    return [Verdict("finite", bool(a["out"].isfinite().all()), "every element is written")]


def toy(calls: Mapping[str, Call], **changes: object) -> Bench:
    def make(_: Place, count: int) -> list[Arguments]:
        return [{"x": torch.arange(SIZE) + 1.0, "out": torch.zeros(SIZE)} for _ in range(count)]

    bench = Bench("toy", "small", Traffic(4 * SIZE, 4 * SIZE), make, lambda _: calls, ("out",), doubled)
    return replace(bench, **changes)  # type: ignore[arg-type]


def measured(tmp_path: Path, bench: Bench, *medians: float) -> tuple[BenchRecord, Stopwatch]:
    clock = Stopwatch(*medians)
    runner = Runner(HERE, MACHINE, tmp_path / "bench.jsonl", clock, host_clock)
    return next(runner.run([bench])), clock


def test_a_right_kernel_is_timed_and_compared_with_its_rivals(tmp_path: Path):
    traffic = Traffic(read=3_000_000, written=1_000_000, flops=10**9, dot="bf16")
    bench = toy({SHIPPED: double, "slow": double, "fast": double}, traffic=traffic)
    record, clock = measured(tmp_path, bench, 10.0, 25.0, 5.0)
    assert (record.status, clock.timed) == ("measured", 3)
    assert record.time is not None
    assert (record.time.median, record.time.low, record.time.high) == (10.0, 9.0, 11.0)
    assert record.copy_share == pytest.approx(4e6 / 10e-6 / COPY)
    assert record.matrix_share == pytest.approx(1e9 / 10e-6 / MATRIX)
    assert {rival.name: rival.ratio for rival in record.rivals} == {"slow": 2.5, "fast": 0.5}
    assert record.host is not None
    assert record.host.median == 12.0


@pytest.mark.parametrize("wrong", [forgetful, off_by_one])
def test_a_kernel_with_a_wrong_output_is_never_timed(tmp_path: Path, wrong: Call):
    record, clock = measured(tmp_path, toy({SHIPPED: wrong}))
    assert (record.status, clock.timed, record.time, record.rivals) == ("wrong", 0, None, ())
    assert record.reason.startswith("shipped is wrong")
    assert not all(check.passed for check in record.checks)


def test_a_wrong_rival_spoils_its_bench_and_is_named(tmp_path: Path):
    record, clock = measured(tmp_path, toy({SHIPPED: double, "naive": off_by_one}))
    assert (record.status, clock.timed, record.time) == ("wrong", 0, None)
    assert record.reason.startswith("naive is wrong")


def test_what_one_implementation_wrote_does_not_pass_for_the_next_ones_output(tmp_path: Path):
    record, _ = measured(tmp_path, toy({SHIPPED: double, "idle": lambda _: None}))
    assert record.status == "wrong"
    assert record.reason.startswith("idle is wrong")


def test_a_rival_with_a_judge_of_its_own_is_judged_by_it_alone(tmp_path: Path):
    calls = {SHIPPED: double, "other": off_by_one}
    record, _ = measured(tmp_path, toy(calls, rival_checks={"other": any_value}), 4.0, 8.0)
    assert record.status == "measured"
    spoilt, _ = measured(tmp_path, toy({**calls, "other": forgetful}, rival_checks={"other": any_value}))
    assert spoilt.reason.startswith("other is wrong (finite)")


def test_a_kernel_that_raises_fails_its_own_bench_only(tmp_path: Path):
    runner = Runner(HERE, MACHINE, tmp_path / "bench.jsonl", Stopwatch(1.0), host_clock)
    first, second = runner.run([toy({SHIPPED: broken}), toy({SHIPPED: double}, name="next")])
    assert (first.status, first.time, first.reason) == ("failed", None, "ValueError: no such kernel")
    assert (second.status, second.name) == ("measured", "next")


def test_a_bench_whose_first_implementation_is_not_the_shipped_one_fails(tmp_path: Path):
    record, clock = measured(tmp_path, toy({"naive": double, SHIPPED: double}))
    assert (record.status, clock.timed) == ("failed", 0)
    assert "put 'shipped' first" in record.reason


@pytest.mark.parametrize(("device", "ratio"), [("Chip 7000", 3.0), ("Chip 9000", None)])
def test_a_reference_counts_on_its_own_kind_of_device_only(tmp_path: Path, device: str, ratio: float | None):
    bench = toy({SHIPPED: double}, reference=Reference(30.0, "theirs", device))
    record, _ = measured(tmp_path, bench, 10.0)
    assert (record.reference, record.reference_ratio) == (30.0, ratio)
    assert record.reference_of == f"theirs, {device}"


def test_work_without_products_or_with_an_unmeasured_rate_has_no_matrix_share(tmp_path: Path):
    for traffic in (Traffic(8, 8), Traffic(8, 8, flops=100, dot="fp8")):
        record, _ = measured(tmp_path, toy({SHIPPED: double}, traffic=traffic), 1.0)
        assert record.matrix_share is None


def test_poison_is_no_number_of_any_float_format():
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn):
        tensor = torch.zeros(5, dtype=dtype)
        poison(tensor)
        assert tensor.float().isnan().all()
        assert (tensor.view(torch.uint8) == POISON).all()


def test_every_record_is_on_disk_before_the_next_bench_begins(tmp_path: Path):
    out = tmp_path / "deep" / "bench.jsonl"
    run = Runner(HERE, MACHINE, out, Stopwatch(1.0, 1.0), host_clock).run(
        [toy({SHIPPED: double}, name=name) for name in "ab"]
    )
    seen = [[record.id for record in read(out) if isinstance(record, BenchRecord)] for _ in run]
    assert seen == [["toy:a"], ["toy:a", "toy:b"]]


def test_a_resumed_run_leaves_out_what_has_a_time_on_this_device_at_this_commit(tmp_path: Path):
    out = tmp_path / "bench.jsonl"
    time = Time(median=1.0, low=1.0, high=1.0, samples=1, calls=1)
    done = BenchRecord(
        run_id="r", op="toy", name="a", status="measured", time=time, device="Chip 7000", commit=commit()
    )
    for record in (
        done,
        done.model_copy(update={"name": "b", "status": "wrong", "time": None}),
        done.model_copy(update={"name": "c", "device": "Chip 9000"}),
        done.model_copy(update={"name": "d", "commit": "another"}),
    ):
        append(out, record)
    assert done_before(out, "Chip 7000") == {"toy:a"}


def test_a_line_that_a_kill_cut_short_is_left_out_and_any_other_bad_line_is_an_error(tmp_path: Path):
    out = tmp_path / "bench.jsonl"
    append(out, MACHINE)
    whole = out.read_text()
    out.write_text(whole + whole[:40])
    assert [record.kind for record in read(out)] == ["machine"]
    out.write_text(whole[:40] + "\n" + whole)
    with pytest.raises(ResultsError, match="line 1"):
        list(read(out))


def rendered(records: Sequence[BenchRecord]) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=180)
    console.print(table(records))
    assert isinstance(console.file, io.StringIO)
    return [line.split() for line in console.file.getvalue().splitlines()]


def test_the_table_shows_times_shares_and_ratios_in_one_row():
    def time(median: float) -> Time:
        return Time(median=median, low=0.5 * median, high=2 * median, samples=21, calls=8)

    record = BenchRecord(
        run_id="r", op="toy", name="a", status="measured", time=time(40.0), host=time(9.0), copy_share=0.714,
        matrix_share=0.125, reference=100.0, reference_ratio=2.5,
        rivals=(RivalTime(name="naive", time=time(90.0), ratio=2.25),),
    )  # fmt: skip
    rows = rendered([record])
    assert ["toy:a", "40.0", "20.0-80.0", "71%", "12%", "9.0", "100", "2.50x", "naive", "2.25x"] in rows


@pytest.mark.parametrize("status", ["wrong", "failed"])
def test_the_table_shows_why_a_bench_has_no_time(status: str):
    record = BenchRecord.model_validate(
        {"run_id": "r", "op": "toy", "name": "a", "status": status, "reason": "shipped is odd"}
    )
    assert ["toy:a", status, "shipped", "is", "odd"] in rendered([record])


def test_the_machines_ceilings_are_named_with_their_units():
    line = machine_line(MACHINE)
    assert line == "Chip 7000: copy 4.00 TB/s (read + written), matrix bf16 800 TFLOP/s"


def test_a_sample_is_summarised_by_its_median_and_its_outer_tenths():
    timing = summarised([5.0, 1.0, 2.0, 3.0, 4.0], 7)
    assert (timing.median, timing.low, timing.high) == pytest.approx((3.0, 1.4, 4.6))
    assert (timing.samples, timing.calls) == (5, 7)
    with pytest.raises(ValueError, match="no time"):
        summarised([], 1)


@pytest.mark.parametrize("moved", [0, 1, 10**6, 10**8, 10**12])
def test_rotating_operands_overflow_the_last_level_cache(moved: int):
    last_level = 50_000_000
    sets = sets_needed(moved, last_level)
    assert 2 <= sets <= MOST_SETS
    assert sets == MOST_SETS or (sets - 1) * moved >= 2 * last_level


@pytest.mark.parametrize(("microseconds", "sets"), [(0.0, 3), (1.0, 7), (300.0, 2), (1e6, 5), (0.1, 256)])
def test_a_graph_calls_every_set_equally_often(microseconds: float, sets: int):
    calls = calls_in_graph(microseconds, sets)
    assert 1 <= calls <= max(MOST_CALLS, sets)
    assert calls % sets == 0 or calls == MOST_CALLS


@pytest.mark.parametrize("microseconds", [0.0, 2500.0, 1e5, 6e5, 1e9])
def test_a_slow_graph_is_replayed_less_often_but_never_too_rarely_for_a_median(microseconds: float):
    replays = replays_of(microseconds)
    assert FEWEST_REPLAYS <= replays <= REPLAYS
    assert replays == FEWEST_REPLAYS or replays * microseconds <= PATIENCE_MICROSECONDS
    assert replays_of(2500.0) == REPLAYS


def test_a_bench_id_is_taken_once():
    known = discover()
    assert len({bench.id for bench in known}) == len(known)
    with pytest.raises(BenchError, match="registered twice"):
        register(known[0])


def test_a_selection_keeps_ops_and_words_and_an_unknown_op_gets_a_near_name():
    known = [toy({}, op=op, name=name) for op in ("merge", "rope") for name in ("big", "small")]
    assert [bench.id for bench in select(known, ["rope"])] == ["rope:big", "rope:small"]
    assert [bench.id for bench in select(known, [], ["e", "big"])] == ["merge:big", "rope:big"]
    with pytest.raises(BenchError, match="benches of merge"):
        select(known, ["marge"])
    with pytest.raises(BenchError, match="--list"):
        select(known, ["rope"], ["huge"])


def test_the_command_lists_its_benches_without_a_device(children: Children):
    done = children.rocassay("bench", "--list", "--json", "--op", "mla_decode_fwd")
    assert done.code == 0
    assert json.loads(done.out) == [bench.id for bench in select(discover(), ["mla_decode_fwd"])]


def test_without_a_device_there_is_one_sentence_that_says_where_to_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineUnavailable, match="run it on a machine with a ROCm or CUDA device"):
        place()
