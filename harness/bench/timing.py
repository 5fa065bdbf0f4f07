"""Times on a device: graph replays over rotating operands for the kernels, a host clock for the launches."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

REPLAYS = 21
"""Timed replays of a graph: one sample each."""

FEWEST_REPLAYS = 5
PATIENCE_MICROSECONDS = 1e6
"""Time that the replays of one implementation may take: a slow rival gets fewer of them."""

GRAPH_MICROSECONDS = 2500.0
"""A graph holds calls for about this long, so that the events around it cost nothing that shows."""

MOST_CALLS = 400
MOST_SETS = 256
HOST_BATCHES, HOST_CALLS = 9, 40
LOW, HIGH = 0.1, 0.9
"""Quantiles that the spread runs between."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Median and spread of a sample of times, in microseconds a call."""

    median: float
    """Half of the samples took no longer."""
    low: float
    """10th percentile."""
    high: float
    """90th percentile."""
    samples: int
    """How many were taken."""
    calls: int
    """Calls a sample is the mean of."""


def summarised(samples: Sequence[float], calls: int) -> Timing:
    """Statistics of times a call; ValueError for none."""
    if not samples:
        raise ValueError("no time was measured; take at least one sample")
    return Timing(quantile(samples, 0.5), quantile(samples, LOW), quantile(samples, HIGH), len(samples), calls)


def quantile(samples: Sequence[float], share: float) -> float:
    """The value below which `share` of the samples lie, linear between neighbours."""
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def sets_needed(moved: int, last_level_bytes: int) -> int:
    """Operand sets to rotate through so that each finds the last-level cache full of others: 2 to `MOST_SETS`."""
    return max(2, min(MOST_SETS, math.ceil(2 * last_level_bytes / max(1, moved)) + 1))


def calls_in_graph(microseconds: float, sets: int) -> int:
    """Calls of a graph, for a call that takes about so long: every set at least once, `MOST_CALLS` at most."""
    wanted = math.ceil(GRAPH_MICROSECONDS / max(microseconds, 0.1))
    return min(MOST_CALLS, math.ceil(max(wanted, sets) / sets) * sets)


def replays_of(microseconds: float) -> int:
    """Timed replays of a graph that takes about so long."""
    return max(FEWEST_REPLAYS, min(REPLAYS, int(PATIENCE_MICROSECONDS / max(microseconds, 0.1))))


def device_time(calls: Sequence[Callable[[], object]]) -> Timing:
    """Time of one call on the device: replays of a graph that makes the calls in turn, launch gaps left out.

    Whatever a call does the first time (compilation, loading) is not in it. Raises RuntimeError for calls that
    cannot be captured because they wait for the device.
    """
    for call in calls:
        call()
    rough = _rough_time(calls)
    count = calls_in_graph(rough, len(calls))
    replays = replays_of(rough * count)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for index in range(count):
            calls[index % len(calls)]()
    graph.replay()
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(replays)]
    for start, stop in events:
        start.record()
        graph.replay()
        stop.record()
    torch.cuda.synchronize()
    return summarised([start.elapsed_time(stop) * 1e3 / count for start, stop in events], count)


def event_time(call: Callable[[], object]) -> Timing:
    """Time of one long call between events, outside any graph: there a copy may run on another engine."""
    call()
    samples: list[float] = []
    for _ in range(REPLAYS):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        stop.record()
        torch.cuda.synchronize()
        samples.append(start.elapsed_time(stop) * 1e3)
    return summarised(samples, 1)


def _rough_time(calls: Sequence[Callable[[], object]]) -> float:
    rounds = 3
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for index in range(rounds * min(len(calls), 4)):
        calls[index % len(calls)]()
    stop.record()
    torch.cuda.synchronize()
    return start.elapsed_time(stop) * 1e3 / (rounds * min(len(calls), 4))


def host_time(call: Callable[[], object]) -> Timing:
    """Time that the host spends in one call without waiting for the device."""
    samples: list[float] = []
    for _ in range(HOST_BATCHES):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(HOST_CALLS):
            call()
        samples.append((time.perf_counter() - begin) * 1e6 / HOST_CALLS)
    torch.cuda.synchronize()
    return summarised(samples, HOST_CALLS)
