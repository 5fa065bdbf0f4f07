"""Case ids: the text is the case, and a text that is no case is refused with the part that is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rocassay.harness.arch import PROFILES, UnknownArch
from rocassay.harness.cases import Case, MalformedCase, MissingParameter, Selection, cross
from rocassay.harness.errors import RocassayError
from rocassay.harness.fp8 import FORMATS, UnknownFormat
from rocassay.harness.ops import TIERS, discover

GOOD = "op:gfx942:e4m3fn:bs64:a=1,b=word:padded:s7"

words = st.text("abcXYZ019_.+-", min_size=1, max_size=12)
names = words.filter(lambda word: "=" not in word)
values = st.integers(-(2**70), 2**70) | words.filter(lambda word: not word.lstrip("-").isdigit())
cases = st.builds(
    Case,
    op=words,
    arch=st.sampled_from(sorted(PROFILES)),
    fp8=st.sampled_from(sorted(FORMATS)),
    block_size=st.integers(1, 2**40),
    params=st.lists(st.tuples(names, values), max_size=5, unique_by=lambda pair: pair[0]).map(tuple),
    recipe=words,
    seed=st.integers(0, 2**64),
)


def edited(part: int, becomes: str) -> str:
    parts = list[str](GOOD.split(":"))
    parts[part] = becomes
    return ":".join(parts)


@given(cases)
def test_a_case_id_parses_back_into_the_case(case: Case):
    assert Case.parse(str(case)) == case


@pytest.mark.parametrize("tier", TIERS)
def test_every_shipped_case_parses_back_and_no_id_stands_for_two(tier):
    found = [case for op in discover() for case in op.cases(tier)]
    assert [Case.parse(str(case)) for case in found] == found
    assert len({str(case) for case in found}) == len(found)


def test_surrounding_white_space_does_not_matter():
    assert str(Case.parse(f"  {GOOD}\n")) == GOOD


def test_integers_and_words_are_told_apart():
    case = Case.parse(edited(4, "a=-3,b=x3,c=3"))
    assert case.params == (("a", -3), ("b", "x3"), ("c", 3))


@pytest.mark.parametrize(
    ("text", "error", "part"),
    [
        ("", MalformedCase, "has 1 parts, not 7"),
        ("nonsense", MalformedCase, "has 1 parts, not 7"),
        (GOOD.rsplit(":", 1)[0], MalformedCase, "has 6 parts, not 7"),
        (GOOD + ":more", MalformedCase, "has 8 parts, not 7"),
        (edited(0, ""), MalformedCase, "op ''"),
        (edited(0, "a b"), MalformedCase, "op 'a b'"),
        (edited(1, "gfx 942"), MalformedCase, "arch 'gfx 942'"),
        (edited(1, "gfx000"), UnknownArch, "gfx000"),
        (edited(1, "any"), UnknownArch, "any"),
        (edited(2, "e4m3"), UnknownFormat, "e4m3"),
        (edited(3, "64"), MalformedCase, "block size '64' is not bsN"),
        (edited(3, "bs"), MalformedCase, "block size 'bs' is not bsN"),
        (edited(3, "bs-1"), MalformedCase, "block size 'bs-1' is not bsN"),
        (edited(3, "bs0"), MalformedCase, "block size 0 is not a positive number"),
        (edited(3, "bs1.5"), MalformedCase, "block size 'bs1.5' is not bsN"),
        (edited(3, "bs٣"), MalformedCase, "block size 'bs٣' is not bsN"),
        (edited(4, "a"), MalformedCase, "parameter 'a' is not name=value"),
        (edited(4, "a="), MalformedCase, "parameter 'a=' is not name=value"),
        (edited(4, "=1"), MalformedCase, "parameter '=1' is not name=value"),
        (edited(4, "a=1=2"), MalformedCase, "parameter 'a=1=2' is not name=value"),
        (edited(4, "a=1,b c=2"), MalformedCase, "parameter 'b c=2' is not name=value"),
        (edited(5, ""), MalformedCase, "recipe ''"),
        (edited(6, "7"), MalformedCase, "seed '7' is not sN"),
        (edited(6, "s-7"), MalformedCase, "seed 's-7' is not sN"),
        (edited(6, "s"), MalformedCase, "seed 's' is not sN"),
    ],
)
def test_a_malformed_id_is_one_clear_error_that_names_the_part(text: str, error: type[RocassayError], part: str):
    with pytest.raises(error) as raised:
        Case.parse(text)
    message = str(raised.value)
    assert part in message
    assert "\n" not in message


@given(st.text(":=,sbgfx942e4m3n01 \n\0é", max_size=60))
def test_any_other_text_is_refused_by_a_known_error(text: str):
    with pytest.raises((MalformedCase, UnknownArch, UnknownFormat)):
        Case.parse(text)


def test_a_parameter_that_is_missing_or_no_number_is_named_together_with_the_case():
    case = Case.parse(GOOD)
    assert (case["a"], case["b"], case.integer("a")) == (1, "word", 1)
    with pytest.raises(MissingParameter, match=f"case {GOOD} has no parameter 'c'"):
        case["c"]
    with pytest.raises(MissingParameter, match=r"parameter b=word of case .* is not an integer"):
        case.integer("b")


def test_cross_gives_every_combination_once_and_only_those_that_satisfy_where():
    axes = {"arches": ("gfx942", "gfx950"), "fp8s": ("e4m3fn",), "block_sizes": (1, 64), "recipes": ("x", "y")}
    whole = cross("op", **axes, a=(1, 2, 3), b=("u",))
    some = cross("op", **axes, a=(1, 2, 3), b=("u",), where=lambda case: case["a"] == 2 and case.recipe == "x")
    assert len(set(whole)) == len(whole) == 2 * 2 * 2 * 3
    assert some == [case for case in whole if case["a"] == 2 and case.recipe == "x"]
    assert {case.params for case in whole} == {(("a", a), ("b", "u")) for a in (1, 2, 3)}


@pytest.mark.parametrize(
    "limit",
    [
        {"ops": frozenset({"other"})},
        {"arches": frozenset({"gfx950"})},
        {"fp8s": frozenset({"e4m3fnuz"})},
        {"block_sizes": frozenset({1})},
        {"cases": frozenset({edited(6, "s8")})},
    ],
    ids=lambda limit: next(iter(limit)),
)
def test_each_filter_alone_leaves_a_case_out(limit):
    case = Case.parse(GOOD)
    assert Selection().takes_case(case)
    assert not Selection(**limit).takes_case(case)


def test_all_filters_together_take_the_case_they_describe():
    case = Case.parse(GOOD)
    axes = {"ops": {case.op}, "arches": {case.arch}, "fp8s": {case.fp8}, "block_sizes": {case.block_size}}
    limits = {name: frozenset(values) for name, values in axes.items()}
    assert Selection(**limits, cases=frozenset({GOOD})).takes_case(case)
