"""Binding: what Python would refuse, and what it would take for something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from rocassay.harness.contract.declared import Call, arguments
from rocassay.suites.contracts.trees import problems, result, tree


def call(positional: str = "", keywords: str = "", relies: tuple[tuple[str, str], ...] = ()) -> Call:
    """A call of `toy.ops:f` with arguments of these names."""
    given = (arguments(*positional.split()), arguments(*keywords.split()))
    return Call("f", "caller", ("toy.ops:f",), *given, relies=relies)


BINDS = {
    "by position": ("a, b, c=1", call("a b")),
    "by keyword": ("a, b, c=1", call("a", "b c")),
    "keyword only": ("a, *, b, c=1", call("a", "b")),
    "more by position": ("a, *rest", call("a b c")),
    "any keyword": ("a, **rest", call("a", "b")),
    "under an older name": ("a, cache", call("a kv_cache/cache")),
    "a default that is the one relied on": ("a, causal=True", call("a", relies=(("causal", "True"),))),
    "a default relied on and passed": ("a, causal=False", call("a", "causal", relies=(("causal", "True"),))),
    "a default of a parameter that is not there": ("a", call("a", relies=(("page_size", "1"),))),
}

REFUSED = {
    "unexpected keyword: no parameter is called causal, rank": ("q, out", call("q out", "causal rank")),
    "missing argument: nothing is passed for out, k": ("q, out, *, k, j=1", call("q")),
    "too many positional arguments: 1 are taken, 3 are passed: no slot for out, k": ("q", call("q out k")),
    "argument given twice: out is slot 2 and a keyword": ("q, out", call("q out", "out")),
    "unexpected keyword: no parameter is called q": ("q, /", call("q", "q")),
    "positional slot has another name: slot 2 is page_size, the caller passes scale": (
        "q, page_size=1, scale=None",
        call("q scale"),
    ),
    "positional slot has another name: slot 2 is k, the caller passes out; of the slots after it 1 differ, too": (
        "q, k, out, j=1",
        call("q out k"),
    ),
    "default changed: causal is left out for its default True, which is False": (
        "q, causal=False",
        call("q", relies=(("causal", "True"),)),
    ),
}


@pytest.mark.parametrize("name", BINDS)
def test_a_call_binds(tmp_path: Path, name: str):
    signature, made = BINDS[name]
    assert problems(tmp_path, signature, made) == []


@pytest.mark.parametrize("problem", REFUSED)
def test_a_call_does_not_bind(tmp_path: Path, problem: str):
    signature, made = REFUSED[problem]
    assert problems(tmp_path, signature, made) == [problem]


STUB = """
    @native("module_plan", calls="{native}")
    def f(lengths, work_indptr, work_info, grain=16): ...
"""
BINDING = """
    #define PLAN_PYBIND                              \\
        m.def("plan",  // the planner, (lengths, ...) \\
              &plan, "plan(lengths)",                \\
              py::arg("lengths"),                    \\
              py::arg("work_info") = std::make_optional(3), \\
              py::arg("work_indptr"),                \\
              py::arg("grain") = 16);
"""
SWAPPED = {"toy/ops.py": STUB.format(native="plan"), "csrc/plan.h": BINDING}


def test_the_names_of_a_native_function_say_what_its_stubs_slots_mean(tmp_path: Path):
    right = result(tmp_path, SWAPPED, call("lengths work_info work_indptr"))
    assert right.binds
    assert right.notes[0] == "slot 2 is work_indptr in the stub and work_info in the native function"
    wrong = result(tmp_path, SWAPPED, call("lengths work_indptr work_info"))
    assert [str(each) for each in wrong.problems] == [
        "positional slot has another name: slot 2 is work_info, the caller passes work_indptr; "
        "of the slots after it 1 differ, too (native function)"
    ]


def test_a_keyword_of_a_stub_that_reaches_another_native_slot_is_found(tmp_path: Path):
    found = result(tmp_path, SWAPPED, call("lengths work_info", "work_indptr"))
    assert (
        "keyword reaches another slot: work_indptr is slot 2 of the stub, which the native function reads as "
        in str([str(each) for each in found.problems])
    )


def test_a_native_function_without_names_leaves_it_at_the_stub(tmp_path: Path):
    files = {"toy/ops.py": STUB.format(native="bare"), "csrc/plan.h": BINDING + '\nm.def("bare", &bare);'}
    found = result(tmp_path, files, call("lengths work_indptr work_info"))
    assert found.binds
    assert found.notes == ("the bindings of native function bare give no names of arguments",)


def test_native_defaults_are_read_as_python_spells_them(tmp_path: Path):
    bound = (
        'm.def("plan", &plan, py::arg("a") = true, py::kw_only(), py::arg("b") = std::nullopt, py::arg("c") = "x, y");'
    )
    found = tree(tmp_path, {"csrc/plan.h": bound}).native["plan"]
    assert [str(signature) for signature in found] == ['(a=True, *, b=None, c="x, y")']


def test_native_overloads_are_tried_in_turn(tmp_path: Path):
    overload = '\nvoid more() { m.def("plan", &other, "lengths"_a, "work_indptr"_a, "work_info"_a, "grain"_a = 1); }'
    files = {**SWAPPED, "csrc/more.cu": overload}
    for order in ("lengths work_info work_indptr", "lengths work_indptr work_info"):
        assert result(tmp_path, files, call(order)).binds
