"""The cluster as Ray has it: the only module that needs Ray."""

from __future__ import annotations

import importlib
import logging
import math
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rocassay.harness.cluster.driver import Gone, Node
from rocassay.harness.cluster.messages import Job, Told
from rocassay.harness.cluster.needs import ON_A_GPU
from rocassay.harness.cluster.supervisor import Supervisor
from rocassay.harness.errors import RocassayError
from rocassay.harness.sharding import Item

CONNECT_SECONDS = 10.0
"""How long the head may take to accept a connection."""


class ClusterError(RocassayError, RuntimeError):
    """A cluster that cannot be used."""


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ClusterError(f"--ray needs Ray ({error}); install it with: pip install 'rocassay[ray]'") from error


def _nobody(address: str, why: str) -> ClusterError:
    return ClusterError(f"no Ray cluster at {address} ({why}); start one with `ray start --head`, see docs/cluster.md")


def _require_listener(address: str) -> None:
    """Raise ClusterError where nothing listens at HOST:PORT: Ray itself would wait there for minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdecimal() or "://" in address:
        raise ClusterError(f"--ray {address} is no address of a head; write HOST:PORT, or auto on a machine of it")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _nobody(address, str(error)) from error


def share(amount: float, places: int) -> float:
    """What each of the workers takes of a node's CPUs or GPUs: at most one; Ray knows four decimals."""
    return min(1.0, math.floor(10_000 * amount / places) / 10_000)


class RayCluster:
    """Connected while it is open as a context."""

    def __init__(self, address: str) -> None:
        """`address`: host:port of the head, or auto. Raises ClusterError when nothing answers there."""
        self._ray = _ray()
        _require_listener(address)
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _nobody(address, str(error).partition("\n")[0]) from error
        self._workers: dict[str, Any] = {}
        self._calls: dict[Any, str] = {}

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def nodes(self) -> list[Node]:
        """Machines that are alive."""
        alive = (node for node in self._ray.nodes() if node["Alive"])
        return [Node(node["NodeID"], node["NodeManagerHostname"], node["Resources"]) for node in alive]

    def hire(self, name: str, node: Node, places: Mapping[str, int], job: Job) -> None:
        """Start an actor on the node; its first call returns with a greeting."""
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        most, on_gpu = max(places.values()), job.options.engine == ON_A_GPU
        actor = self._ray.remote(Supervisor).options(
            num_cpus=share(node.resources.get("CPU", 0.0), most),
            num_gpus=share(node.resources.get("GPU", 0.0), most) if on_gpu else 0,
            resources=dict.fromkeys(places, 1),
            scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(node.id, soft=False),
        )
        self._workers[name] = actor.remote(name, job, most)
        self.give(name, ())

    def give(self, name: str, items: Sequence[Item]) -> None:
        """Open a call of the worker."""
        self._calls[self._workers[name].work.remote(list(items))] = name

    def answers(self, seconds: float) -> list[tuple[str, Sequence[Told] | Gone]]:
        """Every answer that has come; waits for the first."""
        calls = list(self._calls)
        if not calls:
            time.sleep(seconds)
            return []
        done, _ = self._ray.wait(calls, num_returns=len(calls), timeout=0)
        if not done:
            done, _ = self._ray.wait(calls, num_returns=1, timeout=seconds)
        return [(self._calls.pop(call), self._answer(call)) for call in done]

    def _answer(self, call: Any) -> Sequence[Told] | Gone:
        try:
            return self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:
            return Gone(str(error.cause))
        except self._ray.exceptions.RayError as error:
            return Gone(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")

    def dismiss(self, name: str) -> None:
        """Kill the actor; an open call of it is forgotten."""
        self._calls = {call: whose for call, whose in self._calls.items() if whose != name}
        self._ray.kill(self._workers.pop(name))
