"""pytest's JUnit file tells a dashboard what was judged and how it went, with and without workers, and stays XML."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

from rocassay.harness.junit import LONGEST, case_properties, run_properties
from rocassay.harness.results import Coordinate, Status, read
from rocassay.suites.reports.runs import HOSTILE, case, gate
from rocassay.suites.selftest.children import Children
from rocassay.suites.selftest.test_plugin import PYTEST
from rocassay.suites.selftest.toys import header
from rocassay.suites.selftest.toysuite.names import NAME, OTHER_BLOCK_SIZE

HOSTILE_TESTS = """
import pytest
from rocassay.harness.plugin import _send
from rocassay.harness.results import Coordinate, Status
from rocassay.suites.reports.runs import HOSTILE, case, gate

CONTROLS = "".join(map(chr, range(32))) + "\\x7f\\ufffe]]>&"

@pytest.mark.parametrize("text", [HOSTILE, CONTROLS, "x" * 10**6], ids=range(3))
def test_hostile(request, text):
    place = Coordinate(output=text, index=(1,))
    record = case(1, Status.FAILED, gate(None, passed=False, name=text), reason=text, first_wrong=place, repro=text)
    _send(request.node, record)
    pytest.fail(text, pytrace=False)
"""


def properties(element: ElementTree.Element) -> dict[str, str]:
    found = [(p.get("name", ""), p.get("value", "")) for p in element.findall("properties/property")]
    assert len(dict(found)) == len(found), "a name is given once"
    return dict(found)


def test_every_case_and_the_run_have_the_properties_of_their_records(children: Children, tmp_path: Path):
    limits = (f"--rocassay-op={NAME}", f"--rocassay-block-size={OTHER_BLOCK_SIZE}")
    words = (*PYTEST, *limits, "-n", 1, f"--rocassay-out={tmp_path}", f"--junitxml={tmp_path}/junit.xml")
    assert children(*words).code == 1, "one of the faults is harmless"
    text = (tmp_path / "junit.xml").read_text()
    assay = read(tmp_path / "results.jsonl")
    suite = ElementTree.fromstring(text)[0]  # noqa: S314  written by pytest
    told = [properties(element) for element in suite.findall("testcase")]
    wanted = [dict(case_properties(record)) for record in assay.records]
    assert {(record.fault, record.status.value) for record in assay.records} == {
        (None, "passed"), (f"{NAME}-off-by-one", "failed"), (f"{NAME}-harmless", "blind"),
    }  # fmt: skip
    assert sorted(map(sorted, (t.items() for t in told))) == sorted(map(sorted, (w.items() for w in wanted)))
    assert properties(suite) == dict(run_properties(assay.headers[0]))
    assert properties(suite)["rocassay.run_id"] == assay.headers[0].run_id
    assert '"checks"' not in text
    assert "&quot;checks&quot;" not in text
    assert "rocassay-peak" not in text


def test_hostile_text_leaves_the_file_valid_and_small(children: Children, tmp_path: Path):
    (tmp_path / "test_hostile.py").write_text(HOSTILE_TESTS)
    plugin = ("-p", "rocassay.harness.plugin", "-p", "no:cacheprovider", "-c", os.devnull)
    assert children("pytest", tmp_path, *plugin, "--tb=no", f"--junitxml={tmp_path}/junit.xml").code == 1
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()[0]  # noqa: S314
    first, controls, long = [properties(element) for element in suite.findall("testcase")]
    assert first["rocassay.repro"] == HOSTILE.replace("\x1b", "#x1B")
    assert controls["rocassay.repro"].startswith("#x00#x01")
    assert long["rocassay.repro"] == "x" * LONGEST + "…"


def test_what_a_record_says_in_brief():
    wrong = Coordinate(output="out", index=(2, 5), block=3)
    record = case(
        4, Status.FAILED, gate(1.0), gate(5.0, name="bound", passed=False), first_wrong=wrong, fault="toy-off-by-one"
    )
    assert dict(case_properties(record)) == {
        "rocassay.case": record.case, "rocassay.op": "toy", "rocassay.arch": "gfx942", "rocassay.fp8": "e4m3fn",
        "rocassay.block_size": "1", "rocassay.provider": "rocassay", "rocassay.engine": "interpreter",
        "rocassay.tier": "quick", "rocassay.fault": "toy-off-by-one", "rocassay.status": "failed",
        "rocassay.worst_ratio": "2.5", "rocassay.worst_gate": "bound", "rocassay.inputs_digest": record.digest,
        "rocassay.first_wrong": str(wrong), "rocassay.repro": record.repro,
    }  # fmt: skip


def test_what_a_run_says_in_brief():
    told = dict(run_properties(header(commit="abc+", versions={"triton": "3.9", "rocm": ""})))
    assert told == {
        "rocassay.run_id": "r", "rocassay.commit": "abc+", "rocassay.tier": "quick", "rocassay.provider": "rocassay",
        "rocassay.engine": "interpreter", "rocassay.version.triton": "3.9",
    }  # fmt: skip
