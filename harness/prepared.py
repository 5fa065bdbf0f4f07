"""Inputs and golden of a case, prepared once for everything that is judged on the same numbers."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources

import torch

from rocassay.harness.arena import Placed
from rocassay.harness.cases import Case
from rocassay.harness.gates import customary
from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.gates.whitened import PEER_MINIMUM, Whitened
from rocassay.harness.inputs import Operands, Stream, digest, mismatch
from rocassay.harness.ops import SUITES, Expectation, IncompleteOp, Op, op_named
from rocassay.harness.probes.probe import Second

DIGESTS = "digests.json"
"""File beside the shipped ops' declarations that pins the digests of their inputs."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Inputs and golden of a case; shared by everything that is judged on the same numbers."""

    operands: Operands
    expectations: Mapping[str, Expectation]
    digest: str
    peer: tuple[Verdict, ...]
    peer_errors: Mapping[str, float]
    """Largest error of the peer by output."""
    seconds: dict[str, float]


def prepare(op_name: str, key: Case) -> Prepared:
    """Inputs, golden and the peer's verdict; `key` is the case without its arch. IncompleteOp if an output has none."""
    return _prepare(op_name, key)


def second(op_name: str, key: Case) -> Second | str:
    """Operands for a second launch in the memory of the first, with their golden; or why there are none."""
    return _second(op_name, key)


@functools.lru_cache(maxsize=16)
def _prepare(op_name: str, key: Case) -> Prepared:
    op = op_named(op_name)
    start = time.perf_counter()
    operands = op.inputs(key, Stream.of(key))
    drawn = time.perf_counter()
    expectations = op.golden(key, operands)
    if silent := operands.outputs.keys() - expectations.keys():
        raise IncompleteOp(f"the golden of op {op.name!r} says nothing of output {', '.join(sorted(silent))}")
    judged = time.perf_counter()
    peer, peer_errors = _peer_validity(op, key, operands, expectations)
    seconds = {"inputs": drawn - start, "golden": judged - drawn, "peer": time.perf_counter() - judged}
    return Prepared(operands, expectations, digest(operands), peer, peer_errors, seconds)


@functools.lru_cache(maxsize=4)
def _second(op_name: str, key: Case) -> Second | str:
    op, other = op_named(op_name), key.with_seed(key.seed + 1)
    stream = Stream.of(other)
    operands = op.replay(key, stream) if op.replay else op.inputs(other, stream)
    if why := mismatch(prepare(op_name, key).operands, operands):
        return f"another seed's inputs need another call: {why}"
    what = "shorter requests in the same memory" if op.replay else f"the values of seed {other.seed}"
    return Second(what, operands, op.golden(key if op.replay else other, operands))


def _peer_validity(
    op: Op, case: Case, operands: Operands, expectations: Mapping[str, Expectation]
) -> tuple[tuple[Verdict, ...], dict[str, float]]:
    """Whether the rounding model describes the torch peer, and the peer's largest errors by output."""
    whitened = {name: e.of_peer() for name, e in expectations.items() if isinstance(e, Whitened) and e.model_holds}
    if not whitened:
        return (), {}
    placed = Placed(operands, torch.device("cpu"))
    op.peer(case, placed.arguments())
    outputs = placed.outputs()
    verdicts = tuple(_model_holds(name, expectation, outputs[name]) for name, expectation in whitened.items())
    return verdicts, {name: customary.largest_error(e, outputs[name]) for name, e in whitened.items()}


def _model_holds(name: str, expectation: Whitened, output: torch.Tensor) -> Verdict:
    broken = next((verdict for verdict in expectation.judge(name, output) if not verdict.passed), None)
    rms, (low, high) = expectation.rms_z(output), expectation.peer_limits()
    reason = f"the rounding model must describe a plain torch implementation: rms z in [{low:.2f}, {high:.2f}]"
    count = int((expectation.visible & (expectation.sigma > 0)).sum())
    valid = broken is None and (count < PEER_MINIMUM or low <= rms <= high)
    detail = f"peer rms z {rms:.3g} over {count} elements" + (f"; {broken.detail}" if broken else "")
    statistic = None if count < PEER_MINIMUM else rms
    return Verdict("peer", valid, detail, statistic, high, reason, metrics={} if not count else {"rms_z": rms})


@functools.cache
def pinned_digests() -> dict[str, str]:
    """Digests of the quick tier's inputs, by case id without arch."""
    file = resources.files(SUITES) / DIGESTS
    return json.loads(file.read_text()) if file.is_file() else {}


def input_digests(cases: Iterable[Case]) -> dict[str, str]:
    """Digests of the cases' inputs, as `pinned_digests` holds them: sorted, by case id without arch."""
    keys = sorted({str(key): key for key in map(shared, cases)}.items())
    return {name: digest(op_named(key.op).inputs(key, Stream.of(key))) for name, key in keys}


def remember(cases: int) -> None:
    """Keep the inputs and goldens of this many cases: for a process that judges the same ones again and again."""
    global _prepare, _second
    if _prepare.cache_parameters()["maxsize"] == cases:
        return
    _prepare = functools.lru_cache(maxsize=cases)(_prepare.__wrapped__)
    _second = functools.lru_cache(maxsize=cases)(_second.__wrapped__)


def forget() -> None:
    """Keep nothing of what was prepared so far."""
    _prepare.cache_clear()
    _second.cache_clear()


def shared(case: Case) -> Case:
    """The case without its arch: inputs, golden and pinned digest serve every chip."""
    return replace(case, arch="any")
