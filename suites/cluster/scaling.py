"""How a run on a cluster scales: the same cases judged by fewer and by more workers, in turns.

    python -m rocassay.suites.cluster.scaling --ray auto --op sparse_attn_decode --workers 1 2

Counted is the time from the first verdict to the last: before it every worker imports torch once, whatever comes then.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from rocassay.harness.cli.clustering import engine_for
from rocassay.harness.cluster.driver import Driver
from rocassay.harness.cluster.rayside import RayCluster
from rocassay.harness.controller import Controller
from rocassay.harness.options import Options
from rocassay.harness.sharding import work_of


@dataclass
class Clock:
    """When verdicts came."""

    started: float = field(default_factory=time.perf_counter)
    verdicts: list[float] = field(default_factory=list[float])
    red: int = 0

    def failed(self, text: str) -> None:  # noqa: ARG002
        """Count what is red."""
        self.red += 1

    def done(self) -> None:
        """A verdict is on the file."""
        self.verdicts.append(time.perf_counter())

    def say_now_and_then(self, more: str = "") -> None:
        """Nothing: a person reads the table."""

    @property
    def judging(self) -> float:
        """Seconds from the first verdict to the last."""
        return self.verdicts[-1] - self.verdicts[0]


def timed(cluster: RayCluster, options: Options, workers: int) -> Clock:
    """One run of the options by so many workers, its records thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        controller = Controller(replace(options, out=Path(folder)))
        clock = Clock()
        Driver(cluster, controller, work_of(options), clock, workers)()
        controller.finish(interrupted=False)
    return clock


def main() -> None:
    """Run fewer, more, more, fewer; print each run, and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ray", default="auto", metavar="ADDRESS")
    parser.add_argument("--op", action="append", default=[])
    parser.add_argument("--durations", default="")
    parser.add_argument("--workers", nargs=2, type=int, default=(1, 2), metavar=("FEWER", "MORE"))
    asked, console = parser.parse_args(), Console()
    fewer, more = asked.workers
    found: dict[int, list[float]] = {fewer: [], more: []}
    with RayCluster(asked.ray) as cluster:
        options = Options(ops=tuple(asked.op), suites=("kernels",), ray=asked.ray, durations=asked.durations)
        options = replace(options, engine=engine_for(cluster.nodes())).checked()
        for workers in (fewer, more, more, fewer):
            clock = timed(cluster, options, workers)
            found[workers].append(clock.judging)
            whole = clock.verdicts[-1] - clock.started
            said = f"{workers} workers: {len(clock.verdicts)} cases, {clock.red} red, {clock.judging:.1f} s"
            console.print(f"{said} from the first verdict on, {whole:.1f} s in all", highlight=False)
            if clock.red:
                raise SystemExit(f"{clock.red} red cases say nothing of speed; `rocassay run --ray` says why")
    ratio = statistics.median(found[fewer]) / statistics.median(found[more])
    console.print(f"{more} workers are {ratio:.2f} times as fast as {fewer}", highlight=False)


if __name__ == "__main__":
    main()
