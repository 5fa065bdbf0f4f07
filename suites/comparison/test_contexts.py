"""The cases on which gates are compared: healthy on random keys, and planted ones differ only by their needles."""

from __future__ import annotations

import pytest

from rocassay.harness.cases import Case
from rocassay.harness.choice import make_judge
from rocassay.harness.drills import select_drills
from rocassay.harness.inputs import Stream
from rocassay.harness.judge import Judge
from rocassay.harness.ops import discover, op_named
from rocassay.harness.options import Options
from rocassay.harness.results import Status
from rocassay.suites.comparison.contexts import KEYS, LENGTHS, TEMPLATES, at_length, cases

discover()
SHORT = [case for case in cases([33], "random") if (case.op, case.arch) != ("mla_decode_fwd", "gfx950")]


@pytest.fixture(scope="module")
def judge() -> Judge:
    return make_judge(Options(engine="interpreter").checked())


@pytest.mark.parametrize("case", SHORT, ids=str)
def test_a_healthy_kernel_passes_on_random_keys(judge: Judge, case: Case):
    found = judge(case)
    assert found.status is Status.PASSED, found.reason
    assert set(found.customary) > {"cosine 1e-5", "2x peer"}


def test_random_keys_are_the_planted_ones_without_the_needles():
    """One request of 257 keys in bf16: every 16th key and the one before it hold a needle."""
    at = TEMPLATES[3]
    planted, random = (op_named(at.op).inputs(at_length(at, 257, drawn), Stream("same")).inputs for drawn in KEYS)
    assert planted["q"].nan_to_num().equal(random["q"].nan_to_num())
    keys, others = (tensors["kv_buffer"].flatten(0, 2).nan_to_num() for tensors in (planted, random))
    share = float((keys != others).any(dim=-1).double().mean())
    assert 1 / 16 < share < 3 / 16


def test_every_length_has_every_case_and_all_faults_of_its_op():
    ids = {str(case) for drawn in KEYS for case in cases(LENGTHS, drawn)}
    assert len(ids) == len(KEYS) * len(LENGTHS) * len(TEMPLATES)
    one = str(next(cases([128], "random")))
    assert len(select_drills(Options(cases=(one,), power=True, engine="interpreter"))) > 15
