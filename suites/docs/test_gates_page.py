"""docs/gates.md names every gate and probe that there is, and quotes the limits that are in force."""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from rocassay.harness import arena, judge, prepared
from rocassay.harness.gates import ExactBytes, Verdict, Whitened, exact, selection, whitened
from rocassay.harness.gates.selection import Selection
from rocassay.harness.ops import discover
from rocassay.harness.probes import EVERY_OP, OF_FINDINGS, RELAUNCHING, traffic
from rocassay.suites.docs.pages import page, rows

TEXT = page("docs/gates.md")
SPREAD = Whitened(torch.zeros(2, 64), torch.ones(2, 64), torch.full((2, 64), 20.0), torch.ones(2, 64, dtype=torch.bool))
"""A model of errors that are standard normal, at most 20."""


def names(cell: str) -> list[str]:
    return re.findall(r"`([\w-]+)`", cell)


def verdict_names(module: ModuleType) -> Iterator[str]:
    """First arguments, where they are written out, of whatever makes a verdict in a module."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(node, ast.Call):
            continue
        function = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if function in ("Verdict", "_extreme") and node.args and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)


def test_every_gate_has_a_row_and_every_row_a_gate():
    known = {name for module in (exact, selection, whitened, judge, prepared) for name in verdict_names(module)}
    assert len(known) >= 9
    assert {name for row in rows(TEXT, "Gates") for name in names(row[0])} == known


def test_every_probe_has_a_row_and_every_row_a_probe():
    everywhere = {probe.name for probe in (*EVERY_OP, *OF_FINDINGS, *RELAUNCHING)}
    assert {name for row in rows(TEXT, "Probes of every op") for name in names(row[0])} == everywhere
    of_some = {probe.name for op in discover() for probe in op.probes} - everywhere
    assert {name for row in rows(TEXT, "Probes of some ops") for name in names(row[0])} == of_some


def given() -> dict[str, Verdict]:
    """A verdict of every gate with a limit, on outputs that are right."""
    one = torch.zeros(1, 2, dtype=torch.int64)
    chosen = Selection((torch.zeros(1, dtype=torch.float64),) * 2, ((0, 1),)).judge("out", torch.tensor([[0], [0]]))
    verdicts = [*SPREAD.judge("out", torch.zeros(2, 64)), *ExactBytes(one).judge("out", one), *chosen]
    return {verdict.name: verdict for verdict in verdicts}


@pytest.mark.parametrize("name", ["bytes", "nonfinite", "bound", "max-z", "worst-row", "selection", "replicas"])
def test_the_limit_quoted_is_the_one_in_force(name: str):
    (row,) = [row for row in rows(TEXT, "Gates") if f"`{name}`" in row[0]]
    assert (float(row[2]), given()[name].passed) == (given()[name].limit, True)


def test_every_constant_is_quoted_with_its_value():
    quoted = {names(row[0])[0]: tuple(map(float, row[1].split(","))) for row in rows(TEXT, "Constants")}
    there = {name: value for name, value in vars(whitened).items() if name.isupper() and name != "USES"}
    there |= {"SECOND_PASS": traffic.SECOND_PASS, "GUARD_BYTES": arena.GUARD_BYTES}
    assert quoted == {name: value if isinstance(value, tuple) else (value,) for name, value in there.items()}


def test_the_tail_quoted_is_that_of_the_limit():
    tail = math.erfc(whitened.MAX_Z / math.sqrt(2))
    quoted = re.search(r"Gaussian tail (\S+) an element: (\S+) false alarms in (\S+) elements", TEXT)
    assert quoted
    one, alarms, elements = map(float, quoted.groups())
    assert tail <= one <= 1.05 * tail
    assert alarms == pytest.approx(tail * elements, rel=0.05)


def test_max_z_is_blind_to_a_shared_bias_as_said_and_worst_row_is_not():
    verdicts = {verdict.name: verdict.passed for verdict in SPREAD.judge("out", torch.full((2, 64), 3.0))}
    assert verdicts == {"nonfinite": True, "bound": True, "max-z": True, "worst-row": False}


def test_readme_quotes_the_same_limits():
    readme = {names(row[0])[0]: row[1] for row in rows(page("README.md"), "How a result is judged")}
    here = {names(row[0])[0]: row[2] for row in rows(TEXT, "Gates")}
    assert {name: here[name] for name in ("bytes", "max-z", "worst-row", "bound", "nonfinite")} == {
        name: limit for name, limit in readme.items() if name != "peer"
    }
