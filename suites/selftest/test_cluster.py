"""A run on several machines: who gets what, who is to blame for a lost machine, and what nobody can judge is red."""

from __future__ import annotations

import io
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from rocassay.harness.cases import Case
from rocassay.harness.cli.clustering import engine_for
from rocassay.harness.cli.progress import Meter
from rocassay.harness.cluster import driver, needs, rayside
from rocassay.harness.cluster.driver import Driver, Node, summary_of
from rocassay.harness.cluster.messages import Died, Greeting, Job, Judged, Told
from rocassay.harness.cluster.needs import needs_of, places_of
from rocassay.harness.cluster.rayside import ClusterError, RayCluster, share
from rocassay.harness.cluster.schedule import AHEAD_SECONDS, BATCH_SECONDS, Schedule, Worker
from rocassay.harness.cluster.supervisor import CannotJudge, Supervisor
from rocassay.harness.controller import Controller
from rocassay.harness.faults import register as declare
from rocassay.harness.ops import Matrix, expect, register
from rocassay.harness.options import BadOption, Options
from rocassay.harness.results import CaseRecord, Status, read
from rocassay.harness.sharding import Item, work_of
from rocassay.suites.selftest.children import ENTRY_POINTS
from rocassay.suites.selftest.commandline import Rocassay
from rocassay.suites.selftest.machines import ANYWHERE, HERE, Fleet, Pretended
from rocassay.suites.selftest.test_plugin import lines_by_case
from rocassay.suites.selftest.toys import toy_fault, toy_op
from rocassay.suites.selftest.toysuite.names import FATAL, FATAL_BLOCK_SIZE

GFX942, GFX950 = frozenset({"rocassay:gfx942"}), frozenset({"rocassay:gfx950"})


def cases(ops: str = "ab", count: int = 10, arches: tuple[str, ...] = ("gfx942", "gfx950")) -> list[Case]:
    axes = [(op, arch, number) for op in ops for number in range(count) for arch in arches]
    return [Case(op, arch, "e4m3fn", 1, (("number", number),)) for op, arch, number in axes]


def work(*args: object, **kwargs: object) -> list[tuple[Case, str]]:
    return [(case, "") for case in cases(*args, **kwargs)]  # pyright: ignore[reportArgumentType]


def items(of: Sequence[tuple[Case, str]]) -> list[Item]:
    return [(str(case), fault) for case, fault in of]


def on_interpreter(case: Case) -> frozenset[str]:
    return needs_of("interpreter", "rocassay", case.arch)


def on_device(case: Case) -> frozenset[str]:
    return needs_of("device", "rocassay", case.arch)


def test_a_device_has_to_be_of_the_architecture_and_a_cpu_need_not():
    assert needs_of("device", "rocassay", "gfx942") == GFX942
    assert needs_of("interpreter", "torch", "gfx942") == ANYWHERE
    assert needs_of("device", "aiter", "gfx950") == GFX950 | {"rocassay:aiter"}


def test_a_node_has_places_only_for_what_it_announces():
    mixed = {"CPU": 64.0, "rocassay:gfx942": 8.0, "rocassay:interpreter": 0.5, "gfx950": 1.0}
    assert places_of(mixed, "device", "rocassay", {"gfx942", "gfx950"}) == {"rocassay:gfx942": 8}
    assert places_of(mixed, "device", "aiter", {"gfx942"}) == {}
    assert places_of({**mixed, "rocassay:aiter": 8.0}, "device", "aiter", {"gfx942"}) == {"rocassay:gfx942": 8}
    assert places_of(mixed, "interpreter", "rocassay", {"gfx942"}) == {}, "half a place is none"
    nodes = [Node("1", "a", mixed), Node("2", "b", {"rocassay:interpreter": 2.0})]
    assert (engine_for(nodes), engine_for(nodes[1:])) == ("device", "interpreter")
    assert summary_of(nodes, "device", "rocassay", {"gfx942"}) == "cluster: 8 places for rocassay:gfx942"


def test_doctor_prints_the_line_by_which_this_machine_joins(rocassay: Rocassay, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(needs.os, "cpu_count", lambda: 7)
    (found,) = [one for one in rocassay("doctor", "--json").json if one["thing"] == "as a node of a Ray cluster"]
    command, _, resources = found["finding"].partition(" --resources=")
    assert command == "ray start --address=HEAD:6379"
    assert json.loads(resources.strip("'"))["rocassay:interpreter"] == 7


MANY = work("ab", count=40)
"""More than one worker may have in hand."""


@given(
    seed=st.integers(0, 2**32),
    killers=st.sets(st.sampled_from(items(MANY)), max_size=5),
    workers=st.integers(1, 4),
    nodes=st.integers(1, 3),
    longest=st.sampled_from([100, 3_000_000]),
)
@settings(deadline=None, max_examples=40)
def test_everything_is_judged_once_and_exactly_the_killers_are_to_blame(
    seed: int, killers: set[Item], workers: int, nodes: int, longest: int
):
    chance = random.Random(seed)  # noqa: S311
    took = {item: chance.randrange(1, longest) for item in items(MANY)}
    fleet = Fleet(Schedule(MANY, took, on_interpreter), killers, took, chance)
    fleet.run(nodes, workers)
    assert set(fleet.blamed) == killers
    assert set(fleet.blamed.values()) <= {1}
    assert fleet.judged == Counter(set(items(MANY)) - killers)
    assert fleet.deaths <= 2 * len(killers)


def test_a_suspect_has_its_machine_to_itself_and_the_others_go_on():
    schedule = Schedule(MANY, {}, on_interpreter)
    schedule.hire(Worker("gone", "1", ANYWHERE))
    lost = schedule.batch("gone")
    assert schedule.lost("gone") == []
    for name, node in (("a", "2"), ("b", "2"), ("c", "3")):
        schedule.hire(Worker(name, node, ANYWHERE))
    (alone,) = schedule.batch("a")
    (other,) = set(lost) - {alone}
    assert schedule.batch("b") == []
    assert not set(schedule.batch("c")) & set(lost)
    schedule.judged("a", alone, 0.1)
    assert schedule.batch("b") == [other]
    assert schedule.batch("a") == []
    schedule.judged("b", other, 0.1)
    assert schedule.batch("a")
    assert schedule.batch("b"), "nobody is suspected any more"


def test_each_architecture_goes_to_its_own_machines():
    schedule = Schedule(work(), {}, on_device)
    schedule.hire(Worker("x", "1", GFX942))
    assert {Case.parse(case).arch for case, _ in schedule.batch("x")} == {"gfx942"}
    assert schedule.placeable([GFX950])
    assert not schedule.placeable([ANYWHERE])


def given_out(schedule: Schedule, seconds: float) -> dict[str, list[Item]]:
    """Everything, judged by whoever is there in turns; each piece takes so long."""
    found: dict[str, list[Item]] = {name: [] for name in schedule.workers}
    while schedule.waiting or schedule.in_flight:
        for name, mine in found.items():
            mine += schedule.batch(name)
            done = [item for item in mine if item in schedule._given[name]][:1]
            for item in done:
                schedule.judged(name, item, seconds)
    return found


def test_a_kernel_stays_with_a_worker_and_its_inputs_with_each_other():
    schedule = Schedule(work("abcdefgh"), {}, on_interpreter)
    for name in ("x", "y"):
        schedule.hire(Worker(name, name, ANYWHERE))
    found = given_out(schedule, 0.05)
    compiled = {name: {case.partition(":")[0] for case, _ in mine} for name, mine in found.items()}
    assert sum(map(len, compiled.values())) <= 8 + 1, "only the last kernel is worth two"
    where = {item: name for name, mine in found.items() for item in mine}
    assert sorted(where) == sorted(items(work("abcdefgh")))
    for case, _ in work("abcdefgh"):
        assert where[str(case), ""] == where[str(replace(case, arch="gfx942")), ""]
    sizes = sorted(map(len, found.values()))
    assert sizes[0] > 0.8 * sizes[1]


@pytest.mark.parametrize("known", [True, False], ids=["recorded", "learnt"])
def test_batches_take_about_as_long_as_they_should_and_little_is_in_flight(known: bool):
    seconds, many = 0.1, work("a", count=200, arches=("gfx942",))
    took = {item: round(1e6 * seconds) for item in items(many)} if known else {}
    schedule = Schedule(many, took, on_interpreter)
    schedule.hire(Worker("x", "1", ANYWHERE))
    if not known:
        for item in schedule.batch("x"):
            schedule.judged("x", item, seconds)
    first = schedule.batch("x")
    assert len(first) * seconds == pytest.approx(BATCH_SECONDS)
    assert schedule.batch("x") == []
    for item in first[: int((BATCH_SECONDS - AHEAD_SECONDS) / seconds) + 1]:
        schedule.judged("x", item, seconds)
    assert schedule.batch("x"), "the next one comes before the worker is idle"
    assert schedule.in_flight * seconds <= AHEAD_SECONDS + BATCH_SECONDS


def test_the_last_batches_are_small_so_that_all_end_together():
    many = work("a", count=40, arches=("gfx942",))
    schedule = Schedule(many, dict.fromkeys(items(many), 100000), on_interpreter)
    for name in "wxyz":
        schedule.hire(Worker(name, name, ANYWHERE))
    assert [len(schedule.batch(name)) for name in "wxyz"] == [5, 5, 4, 4]


@pytest.fixture
def toys(registry: None) -> None:
    """An op with cases of both architectures, all of whose cells are expected."""
    arches = ("gfx942", "gfx950")
    register(toy_op("toy_far", cases=lambda _: [replace(case, op="toy_far") for case in cases("t")]))
    declare(toy_fault("toy_far"))
    expect(Matrix(ops=("toy_far",), arches=arches, fp8s=("e4m3fn",), block_sizes=(1,)))


def judged(out: Path, cluster: Pretended, **more: object) -> tuple[list[str], str]:
    """A run of that op: why it is red, and what was printed."""
    options = Options(ops=("toy_far",), suites=("kernels",), out=out, ray="somewhere", **more).checked()  # pyright: ignore[reportArgumentType]
    controller = Controller(options, device="cluster: toys")
    left = [(case, fault) for case, fault in work_of(options) if (str(case), fault) not in controller.done]
    said = io.StringIO()
    Driver(cluster, controller, left, Meter(Console(file=said)))()
    return controller.finish(interrupted=False), said.getvalue()


def reasons(out: Path) -> dict[str, str]:
    found = read(out / "results.jsonl").records
    return {one.arch: one.reason for one in found if one.status is Status.NOT_RUN}


def test_all_that_nodes_can_judge_is_green_and_on_the_file_once(toys: None, tmp_path: Path):
    red, _ = judged(tmp_path, Pretended([Node("1", "a", {"rocassay:interpreter": 2.0})]), engine="interpreter")
    assert red == []
    assert lines_by_case(tmp_path) == Counter(str(replace(case, op="toy_far")) for case in cases("t"))
    found = read(tmp_path / "results.jsonl")
    assert found.headers[0].device == "cluster: toys"
    assert found.ends[0].processes == 1


def test_what_no_node_can_judge_is_red_and_says_what_is_missing(toys: None, tmp_path: Path):
    cluster = Pretended([Node("1", "a", {"rocassay:gfx942": 2.0}), Node("2", "b", {"CPU": 64.0})])
    red, said = judged(tmp_path, cluster, engine="device")
    assert cluster.hired == ["a", "a"]
    assert reasons(tmp_path) == {"gfx950": "no node of the cluster offers rocassay:gfx950"}
    assert "10 of 20 cases are not green" in red
    assert "cells of the expected-to-run matrix did not run" in " ".join(red)
    assert "not run\n  no node of the cluster offers rocassay:gfx950" in said
    again, _ = judged(tmp_path, Pretended([Node("3", "c", {"rocassay:gfx950": 1.0})]), engine="device", resume=True)
    assert lines_by_case(tmp_path)[str(replace(cases("t", arches=("gfx942",))[0], op="toy_far"))] == 1
    assert reasons(tmp_path) == {}, "the resumed run judged what was missing"
    assert "not green" not in " ".join(again)


def greeting(version: str, commit: str) -> Greeting:
    """Of a worker on a machine with this version and commit of rocassay."""
    return replace(HERE, versions={"rocassay": version}, commit=commit)


@pytest.mark.parametrize(
    ("cluster", "why"),
    [
        ({"dying": True}, "worker a-2: no module named triton"),
        ({"greeting": greeting("9", "abc")}, "host has version 9 of rocassay, not "),
        ({"greeting": greeting("1", "f00")}, "host has commit f00 of rocassay, not "),
    ],
    ids=["cannot", "version", "commit"],
)
def test_a_machine_that_cannot_judge_or_judges_otherwise_is_refused_and_named(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: dict[str, object], why: str
):
    monkeypatch.setattr(driver, "versions", lambda: {"rocassay": "1"})
    monkeypatch.setattr(driver, "commit", lambda: "abc")
    machine = {"greeting": greeting("1", "abc")} | cluster
    nodes = [Node("1", "a", {"rocassay:interpreter": 2.0})]
    red, _ = judged(tmp_path, Pretended(nodes, **machine), engine="interpreter")  # pyright: ignore[reportArgumentType]
    assert red
    (said,) = set(reasons(tmp_path).values())
    assert said.startswith(f"no node of the cluster offers rocassay:interpreter; refused: {why}"), said


def test_durations_may_be_given_to_a_cluster_and_no_workers_may_not(rocassay: Rocassay):
    Options(ray="auto", durations="x").checked()
    with pytest.raises(BadOption, match="pass --shard I/N with it"):
        Options(durations="x").checked()
    assert "'0' workers cannot judge on a cluster" in rocassay("run", "--ray", "auto", "-n", 0).complaint


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1:1", r"no Ray cluster at 127.0.0.1:1 \(.*refused\); start one with `ray start --head`"),
        ("ray://host:10001", "ray://host:10001 is no address of a head; write HOST:PORT, or auto"),
        ("host", "host is no address of a head"),
    ],
)
def test_an_address_without_a_cluster_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, address: str, why: str):
    monkeypatch.setattr(rayside, "_ray", object)
    with pytest.raises(ClusterError, match=why):
        RayCluster(address)


def test_without_ray_one_sentence_names_the_extra(rocassay: Rocassay, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "install it with: pip install 'rocassay[ray]'" in rocassay("run", "--ray", "auto").complaint


def test_each_worker_takes_its_part_of_the_cores_and_gpus_of_a_node():
    assert [share(amount, places) for amount, places in ((128, 128), (8, 8), (8, 32), (0, 4), (2, 3), (64, 8))] == [
        1, 1, 0.25, 0, 0.6666, 1,
    ]  # fmt: skip


@pytest.fixture
def toy_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy suite as an installed distribution: judging processes inherit the path."""
    info = tmp_path / "toy-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)


def fatal(mode: str) -> Item:
    return f"{FATAL}:gfx942:e4m3fn:bs{FATAL_BLOCK_SIZE}:mode={mode},number=0:tagged:s0", ""


def test_a_case_that_takes_its_process_along_costs_only_itself(toy_suite: None):
    worker = Supervisor("there-1", Job(Options(engine="interpreter"), None), 1)
    mine, told = [fatal("fine"), fatal("dies"), fatal("fine")], list[Told]()
    told += worker.work(mine)
    while sum(not isinstance(one, Greeting) for one in told) < len(mine):
        told += worker.work(())
    assert [type(one) for one in told] == [Greeting, Judged, Died, Greeting, Judged]
    died = told[2]
    assert isinstance(died, Died)
    assert (died.item, died.status) == (mine[1], Status.CRASHED)
    assert died.reason.startswith("worker there-1 was killed by SIGKILL")
    last = told[4]
    assert isinstance(last, Judged)
    assert CaseRecord.model_validate_json(last.record).status is Status.PASSED
    assert told[0] != told[3], "another process"


def test_a_machine_on_which_the_process_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rocassay.harness.cluster.supervisor.PROGRAM", "import nothing_of_the_kind")
    with pytest.raises(CannotJudge, match="exit code 1: ModuleNotFoundError: No module named 'nothing_of_the_kind'"):
        Supervisor("there-1", Job(Options(), None), 1).work(())
