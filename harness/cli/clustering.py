"""`rocassay run --ray ADDRESS`: the run's cases judged by the nodes of a Ray cluster, its records written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rocassay.harness.arch import PROFILES
from rocassay.harness.cli.progress import Meter
from rocassay.harness.cluster.needs import ON_A_GPU, PREFIX, offers_of
from rocassay.harness.errors import RocassayError
from rocassay.harness.options import BadOption, Options

if TYPE_CHECKING:
    from rocassay.harness.cluster.driver import Node
    from rocassay.harness.cluster.rayside import RayCluster


def run_on_cluster(options: Options, workers: str, meter: Meter) -> bool:
    """Judge what the options select; whether the run came to its own end, and was not stopped by Ctrl-C.

    Raises RocassayError where there is no cluster, or the records cannot be written.
    """
    from rocassay.harness.cluster import rayside

    most = _most(workers)
    with rayside.RayCluster(options.ray) as cluster:
        nodes = cluster.nodes()
        options = replace(options, engine=options.engine or engine_for(nodes))
        return _judged(options, cluster, nodes, most, meter)


def _judged(options: Options, cluster: RayCluster, nodes: Sequence[Node], most: int | None, meter: Meter) -> bool:
    from rocassay.harness.cluster.driver import Driver, summary_of
    from rocassay.harness.controller import Controller
    from rocassay.harness.sharding import plan_of, work_of

    plan = plan_of(options)
    every = [(case, fault) for case, fault in work_of(options) if plan is None or (str(case), fault) in plan.mine]
    place = summary_of(nodes, options.engine, options.provider, {case.arch for case, _ in every})
    controller = Controller(options, plan, place)
    work = [(case, fault) for case, fault in every if (str(case), fault) not in controller.done]
    meter.set_total(len(work))
    meter.start()
    stopped = True
    try:
        Driver(cluster, controller, work, meter, most)()
        stopped = bool(controller.broken)
    except KeyboardInterrupt:
        meter.console.print("stopped; `rocassay run --resume` completes the run", highlight=False)
    finally:
        meter.stop()
        controller.finish(interrupted=stopped)
    if controller.broken:
        raise RocassayError(controller.broken)
    return not stopped


def _most(workers: str) -> int | None:
    """Workers at a time; None for as many as the nodes have places for."""
    if workers in ("auto", ""):
        return None
    if not workers.isdecimal() or int(workers) < 1:
        raise BadOption(f"{workers!r} workers cannot judge on a cluster; use a number from 1 on, or auto")
    return int(workers)


def engine_for(nodes: Sequence[Node]) -> str:
    """The default engine of a cluster: its GPUs where it announces any, else the interpreter."""
    arches = {PREFIX + arch for arch in PROFILES}
    return ON_A_GPU if any(arches & offers_of(node.resources) for node in nodes) else "interpreter"
