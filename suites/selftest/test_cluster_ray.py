"""A real Ray cluster of several nodes on this machine: one is killed in mid-run, another by the case that it judges."""

from __future__ import annotations

import importlib
import importlib.util
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.results import Status, read
from rocassay.suites.selftest.children import Children
from rocassay.suites.selftest.test_plugin import lines_by_case, records
from rocassay.suites.selftest.toysuite.names import (
    FELLING,
    FELLING_BLOCK_SIZE,
    NAME,
    SLOW_BLOCK_SIZE,
    SLOW_CASES,
)

PLACES = {"rocassay:interpreter": 1}
STORE_BYTES = 80 * 2**20
"""The least that Ray takes; nothing is stored."""

IMPATIENT = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 4}
"""When Ray gives up a node that no longer answers: after 4 s instead of 15."""


class Machines:
    """A head that judges nothing, and as many nodes as a test asks for."""

    def __init__(self) -> None:
        common = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
        cluster = importlib.import_module("ray.cluster_utils").Cluster
        self._cluster = cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": IMPATIENT, **common}
        )
        self.nodes: list[Any] = []

    @property
    def address(self) -> str:
        """Of the head, as `--ray` takes it."""
        return str(self._cluster.address)

    def grow(self, count: int) -> None:
        """Wait until so many nodes are there."""
        options = {"num_cpus": 1, "resources": PLACES, "object_store_memory": STORE_BYTES, "wait": False}
        self.nodes += [self._cluster.add_node(**options) for _ in range(count)]
        self._cluster.wait_for_nodes()

    def kill(self) -> None:
        """Kill a node, as when it loses its power."""
        self._cluster.remove_node(self.nodes.pop(), allow_graceful=False)

    def close(self) -> None:
        """End every process."""
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: no real cluster was judged on; install rocassay[ray]")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        started = Machines()
        yield started
        started.close()


def test_a_node_killed_in_mid_run_costs_nothing(machines: Machines, children: Children, tmp_path: Path):
    machines.grow(3)
    words = ("run", "--op", NAME, "--block-size", SLOW_BLOCK_SIZE, "--ray", machines.address, "--out", tmp_path)
    pid = children.start("rocassay", *words)
    path = tmp_path / "results.jsonl"
    while not path.exists() or path.read_bytes().count(b"\n") < 4:
        assert children.running(pid), children.wait(pid)
        time.sleep(0.01)
    machines.kill()
    before = len(lines_by_case(tmp_path))
    done = children.wait(pid)
    assert before < SLOW_CASES, "the node was killed too late"
    assert done.code == 0, done
    assert f"cases: {SLOW_CASES} passed" in done.out
    assert set(lines_by_case(tmp_path).values()) == {1}
    assert len(lines_by_case(tmp_path)) == SLOW_CASES
    found = read(path)
    assert found.red_reasons() == []
    assert found.headers[0].device == "cluster: 3 places for rocassay:interpreter"
    assert {one.device for one in found.records} == {"cpu"}


def test_a_case_that_fells_its_node_twice_is_crashed_and_the_others_are_judged(
    machines: Machines, children: Children, tmp_path: Path
):
    case = f"{FELLING}:gfx942:e4m3fn:bs{FELLING_BLOCK_SIZE}:mode=fells,number=0:tagged:s0"
    machines.grow(1)
    words = ("run", "--op", FELLING, "--block-size", FELLING_BLOCK_SIZE, "--ray", machines.address)
    done = children.rocassay(*words, "--out", tmp_path)
    assert done.code == 1, done
    statuses = Counter((one.params["mode"], one.status) for one in records(tmp_path))
    assert statuses == {("fells", Status.CRASHED): 1, ("fine", Status.PASSED): 2}
    assert set(lines_by_case(tmp_path).values()) == {1}
    (crashed,) = [one for one in records(tmp_path) if one.status is Status.CRASHED]
    assert crashed.case == case
    assert crashed.reason.startswith("its worker was lost with it twice, the second time with nothing else")
