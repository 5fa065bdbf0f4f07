"""Mutants: which mistakes are made, in which functions, and what they are called."""

from __future__ import annotations

import ast
import re
from dataclasses import replace

import pytest

from rocassay.harness import ops
from rocassay.harness.mutants.mutant import Mutant, mutants_in, mutants_of, sampled
from rocassay.harness.mutants.operators import OPERATORS, name_of
from rocassay.harness.mutants.reach import DeviceFunction, reach_of
from rocassay.suites.selftest.toys import toy_op

LAUNCHER = "rocassay.suites.selftest.mutant_kernels:double_rows"
HEAD = "def kernel(x, x_stride, y_stride, BLOCK: tl.constexpr):\n"

MISTAKES = {
    "mask-dropped": ("tl.store(p, v, mask=a & b)", {"tl.store(p, v, mask=(a & b) | True)"}),
    "conjunct-dropped": ("a & b[None, :]", {"a", "b[None, :]"}),
    "disjunct-dropped": ("if a or b or c:\n        pass", {"if b or c:", "if a or c:", "if a or b:"}),
    "check-dropped": ("v = slot >= 0", {"v = slot == slot"}),
    "boundary-moved": ("m = i < n", {"m = i <= n"}),
    "comparison-reversed": ("m = (i) < n", {"m = (i) > n"}),
    "loop-shortened": ("for i in range(0, n):\n        pass", {"for i in range(0, n - 1):"}),
    "ceiling-dropped": ("n = tl.cdiv(a + 1, b)", {"n = ((a + 1) // b)"}),
    "addend-dropped": ("v = a * (b - c)", {"v = a * (b)"}),
    "factor-dropped": ("v = a * (b - c)", {"v = a", "v = (b - c)"}),
    "bits-dropped": ("v = a << b", {"v = a"}),
    "sign-turned": ("v += a", {"v -= a"}),
    "quotient-exchanged": ("v = i // n", {"v = i % n"}),
    "shift-turned": ("v = i >> n", {"v = i << n"}),
    "negation-dropped": ("v = -1", {"v = 1"}),
    "stride-exchanged": ("v = i * y_stride", {"v = i * x_stride"}),
    "number-raised": ("v = a & 0x7F", {"v = a & 0x80"}),
    "number-lowered": ("v = tl.full([4], 2, tl.int32)", {"v = tl.full([4], 1, tl.int32)"}),
    "number-doubled": ("v = a * 0.5", {"v = a * 1.0"}),
    "other-changed": ("v = tl.load(p, mask=m, other=-1.0)", {"v = tl.load(p, mask=m, other=0)"}),
    "infinity-turned": ('v = float("-inf")', {'v = float("inf")'}),
    "type-changed": ("v = a.to(tl.float32)", {"v = a.to(tl.float16)"}),
    "cast-dropped": ("v = (a + b).to(tl.int64)", {"v = (a + b)"}),
    "function-exchanged": ("v = tl.maximum(a, b)", {"v = tl.minimum(a, b)"}),
    "axis-exchanged": ("v = tl.sum(a, 1)", {"v = tl.sum(a, 0)"}),
    "program-axis-exchanged": ("v = tl.program_id(axis=0)", {"v = tl.program_id(axis=1)"}),
    "dimension-turned": ("v = a[:, None]", {"v = a[None, :]"}),
    "transpose-dropped": ("v = tl.dot(a, tl.trans(b))", {"v = tl.dot(a, b)"}),
    "choice-fixed": ("v = tl.where(a < b, a, b)", {"v = tl.where(True, a, b)", "v = tl.where(False, a, b)"}),
    "condition-fixed": ("v = a if BLOCK else b", {"v = a if True else b", "v = a if False else b"}),
    "store-dropped": ("tl.store(p, v)", {"pass"}),
    "barrier-dropped": ("tl.debug_barrier()", {"pass"}),
    "order-relaxed": ('v = tl.atomic_add(p, 1, sem="acq_rel")', {'v = tl.atomic_add(p, 1, sem="relaxed")'}),
    "atomic-made-plain": ('tl.atomic_add(p, 1, mask=m, sem="acq_rel")', {"tl.store(p, 1, mask=m)"}),
}
"""Operator -> (a statement, every line that the operator makes of its first line)."""


def function(source: str, line: int = 10) -> DeviceFunction:
    return DeviceFunction("package.kernels", "kernel", "kernels.py", line, source, "triton")


def made_of(statements: str) -> tuple[Mutant, ...]:
    return mutants_in(function(f"{HEAD}    {statements}\n"))


def lines(operator: str, statements: str) -> set[str]:
    return {mutant.new for mutant in made_of(statements) if mutant.operator == operator}


def test_every_operator_is_shown_at_work():
    assert set(MISTAKES) == {name_of(operator) for operator in OPERATORS}


@pytest.mark.parametrize("operator", MISTAKES)
def test_an_operator_makes_its_mistake_and_no_other(operator: str):
    statement, becomes = MISTAKES[operator]
    assert lines(operator, statement) == becomes


@pytest.mark.parametrize(
    "statement",
    [
        '"""Adds 1 if a < b."""',
        'tl.static_assert(BLOCK > 1, "at least 2")',
        "tl.device_assert(a < b)",
        "assert BLOCK == 4",
        "x = tl.multiple_of(x, 16)",
        'v = tl.load(p, eviction_policy="evict_first", cache_modifier=".cg")',
    ],
)
def test_what_computes_nothing_is_left_alone(statement: str):
    assert made_of(statement) == ()


def test_an_annotation_is_left_alone_and_what_it_annotates_is_not():
    found = made_of("SCALE: tl.constexpr[1] = 2")
    assert {mutant.new for mutant in found} == {"SCALE: tl.constexpr[1] = 3", "SCALE: tl.constexpr[1] = 1"}


def test_a_line_with_characters_of_several_bytes_is_cut_at_the_right_places():
    assert lines("boundary-moved", 'v = tl.where(a == "×·−", b < c, d)') >= {'v = tl.where(a == "×·−", b <= c, d)'}


def test_mutants_of_equal_text_are_one():
    sources = [mutant.source for mutant in made_of("v = a + a")]
    assert len(sources) == len(set(sources))


def test_a_mutant_replaces_one_span_and_names_its_line():
    source = f"{HEAD}    a = 1\n    b = (a +\n         x)\n    return b\n"
    for mutant in mutants_in(function(source)):
        before, after = source.splitlines(), mutant.source.splitlines()
        same = next(number for number, line in enumerate(before) if line != after[number])
        assert before[same + 3 :] == after[len(after) - len(before) + same + 3 :]
        assert mutant.line == 10 + same
        assert mutant.line in mutant.statement


def test_a_line_of_a_compound_statement_is_executed_by_its_head():
    (mutant, *_) = made_of("if BLOCK:\n        v = 1")
    assert (mutant.operator, mutant.statement) == ("condition-fixed", range(11, 12))


def test_ids_are_unique_in_the_shipped_kernels_and_every_mutant_is_python():
    for op in ops.discover()[::7]:
        mutants = mutants_of(op, "isa")
        assert len({mutant.id for mutant in mutants}) == len(mutants) > 0
        for mutant in mutants[::10]:
            ast.parse(mutant.source)


def test_ids_do_not_change_with_edits_elsewhere_in_the_function_or_file():
    before = function(f"{HEAD}    a = x + 1\n    return a * 2\n")
    after = function(f"{HEAD}    z = x - 7\n    a = x + 1\n    return a * 2\n", line=99)
    ids = {mutant.id for mutant in mutants_in(before)}
    assert ids <= {mutant.id for mutant in mutants_in(after)}
    assert all(re.fullmatch(r"kernels:kernel:[0-9a-f]{6}:[a-z-]+(#\d+)?", name) for name in ids)


def test_an_id_changes_with_its_line():
    one, other = (function(f"{HEAD}    return x + {number}\n") for number in (1, 2))
    assert not {m.id for m in mutants_in(one)} & {m.id for m in mutants_in(other)}


def test_the_functions_of_an_op_are_its_kernel_and_what_that_calls_in_other_modules():
    found = {(device.module.rpartition(".")[2], device.name) for device in reach_of(LAUNCHER).functions}
    assert found == {("mutant_kernels", "_double_kernel"), ("mutant_helpers", "twice")}


def test_a_module_that_is_imported_within_a_launcher_belongs_to_the_op():
    op = ops.op_named("fp8_paged_mqa_logits")
    assert any(mutant.function.dialect == "gluon" for mutant in mutants_of(op, "isa"))
    assert all(mutant.function.dialect == "triton" for mutant in mutants_of(op, "interpreter"))


def test_every_shipped_op_has_device_functions_to_mutate():
    assert [op.name for op in ops.discover() if not reach_of(op.launcher).functions] == []


def test_a_sample_is_spread_over_all_mutants_and_the_same_every_time():
    every = mutants_of(toy_op(launcher=LAUNCHER), "interpreter")
    some = sampled(every, 5)
    assert (len(some), some[0]) == (5, every[0])
    assert some == sampled(every, 5)
    assert {mutant.function.name for mutant in some} == {"_double_kernel", "twice"}
    assert sampled(every, 0) == sampled(every, 10_000) == every


def test_a_mutant_of_a_helper_has_the_name_of_the_helpers_module():
    every = mutants_of(toy_op(launcher=LAUNCHER), "interpreter")
    helper = next(mutant for mutant in every if mutant.function.name == "twice")
    assert helper.id.startswith("suites.selftest.mutant_helpers:twice:")
    assert replace(helper, source="").old == "return value + value"
