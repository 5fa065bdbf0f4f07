"""The pinned digests: inputs are bit-identical on every machine, and none of the quick tier goes unpinned."""

from __future__ import annotations

from rocassay.harness.cases import Selection
from rocassay.harness.ops import select_cases
from rocassay.harness.prepared import input_digests, pinned_digests, shared

REGENERATE = (
    "if the inputs were changed on purpose, run `rocassay list --digests > digests.json` "
    "and move the file to suites/kernels/"
)


def test_every_quick_case_has_a_pin_and_every_pin_a_case():
    cases = {str(shared(case)) for case in select_cases("quick", Selection())}
    unpinned, orphaned = cases - pinned_digests().keys(), pinned_digests().keys() - cases
    assert not unpinned, f"{len(unpinned)} cases have no pin, e.g. {min(unpinned)}; {REGENERATE}"
    assert not orphaned, f"{len(orphaned)} pins have no case, e.g. {min(orphaned)}; {REGENERATE}"


def test_the_inputs_of_every_quick_case_have_their_pinned_digest():
    found = input_digests(select_cases("quick", Selection()))
    changed = sorted(name for name, digest in found.items() if pinned_digests().get(name) != digest)
    assert not changed, f"{len(changed)} of {len(found)} inputs differ, e.g. {changed[0]}; {REGENERATE}"


def test_both_chips_share_their_pins():
    cases = select_cases("quick", Selection())
    assert len({case.arch for case in cases}) > 1
    assert {shared(case).arch for case in cases} == {"any"}
    assert len({shared(case) for case in cases}) == len(pinned_digests())
