"""The verb `codegen`: what it compiles, prints, writes and returns."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import triton
from rich.console import Console

from rocassay.harness.cli.codetable import code_table, difference_lines
from rocassay.harness.cli.compiling import Outcome, Wanted, exit_code
from rocassay.harness.codegen.declared import RECORD, beside
from rocassay.harness.codegen.records import Code, Resources, read
from rocassay.harness.codegen.verdicts import Comparison, compared
from rocassay.suites.selftest.children import Children
from rocassay.suites.selftest.test_cli import ENVIRONMENT, LIGHT
from rocassay.suites.selftest.test_codegen import FIT, code, recorded
from rocassay.suites.selftest.toysuite.names import NAME

OP = "per_token_group_quant_fp8"


def asked(children: Children, *words: object) -> Any:
    return children.rocassay("codegen", *words, "-n", 2)


def test_help_imports_nothing_heavy():
    command = [sys.executable, "-c", LIGHT, "codegen", "--help"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--strict" in done.stdout


def test_kernels_in_both_flavours_are_compiled_checked_compared_and_written(children: Children, tmp_path: Path):
    file = tmp_path / "codes.json"
    done = asked(children, OP, "--arch", "gfx942,gfx950", "--fp8", "e4m3fnuz", "--json", file)
    assert done.code == 0, done
    written = json.loads(file.read_text())
    codes = {known["id"]: known for known in written["codes"]}
    record = read(beside(RECORD))
    assert {name for name in record.codes if name.startswith(f"{OP}:") and ":e4m3fnuz:" in name} == codes.keys()
    assert {(known["arch"], *known["uses"]) for known in codes.values()} == {("gfx942", "narrowing"), ("gfx950",)}
    same_release = triton.__version__ == record.triton
    assert {known["state"] for known in codes.values()} == {"same"} or not same_release
    assert f"{len(codes)} code objects of 1 kernels" in done.out
    assert "GREEN" in done.out


def test_a_launcher_that_takes_its_process_along_is_red_and_named(children: Children):
    done = asked(children, NAME)
    assert done.code == 1, done
    assert f"RED {NAME} of {NAME}:gfx942" in done.out
    assert "took its process along" in done.out
    assert "Traceback" not in done.out + done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fp8_mqa_logit",), "did you mean fp8_mqa_logits"),
        (("--arch", "gfx942,gfx1"), "'gfx1' is unknown"),
        (("--fp8", "e3m4"), "e3m4"),
        ((OP, "--arch", "gfx90a"), "no case of the quick tier"),
        (("--all", "--record"), "leave --all out"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(children: Children, words: tuple[str, ...], said: str):
    done = asked(children, *words)
    assert done.code == 2
    assert said in done.complaint


# What is printed and returned, from code objects made by hand


def lines(comparison: Comparison, release: str = "3.9.0") -> str:
    return "\n".join(difference_lines(comparison, release))


def shown(codes: list[Code], comparison: Comparison, wrong: dict[str, list[str]] | None = None) -> str:
    page = StringIO()
    Console(file=page, width=250).print(code_table(codes, wrong or {}, comparison))
    return page.getvalue()


CHANGED = code(
    digest="d" * 16, mix={"v_add_u32": 4, "s_nop": 1}, resources=FIT.model_copy(update={"vgprs": 130})
)  # fmt: skip


def test_a_changed_kernel_is_told_with_its_mix_its_classes_and_its_registers():
    said = lines(compared([CHANGED], recorded(code()), ()))
    for words in ("1 code objects", "mfma 2 → 0", "vgprs 128 → 130", "+s_nop 1", "v_add_u32 3 → 4"):
        assert words in said


def test_other_operands_with_the_same_mix_are_told_too():
    said = lines(compared([code(digest="d" * 16)], recorded(code()), ()))
    assert "the mix is the same" in said


def test_another_release_is_said_first_and_the_mix_compared_all_the_same():
    said = lines(compared([CHANGED], recorded(code(), triton_="3.6.0"), ())).splitlines()
    assert "record is of Triton 3.6.0, this is 3.9.0" in said[0]
    assert any("+s_nop 1" in line for line in said)


def test_new_and_gone_code_objects_are_named_and_long_lists_cut():
    now = [code(id=f"new{number}#0") for number in range(9)]
    said = lines(compared(now, recorded(code()), [code().id]))
    assert "new0#0" in said
    assert "and 3 more" in said
    assert f"recorded and gone: {code().id}" in said


def test_a_row_shows_the_most_that_a_variant_takes_and_its_state():
    spilling = code(id="b#0", resources=Resources(vgprs=512, lds=1, vgpr_spills=7, sgpr_spills=3, scratch=32))
    page = shown([code(), spilling, code(id="c#0", error="no")], compared([code(), spilling], recorded(code()), ()))
    for words in ("128–512", "32768", "7/3/32", "v_mfma_f32_32x32x16_fp8_fp8", "aaaaaaaa", "1 FAILED"):
        assert words in page


def outcome(comparison: Comparison, **wrong: list[str]) -> Outcome:
    return Outcome([], dict(wrong), comparison, 0.0)


def test_a_problem_returns_1_and_a_difference_only_under_strict_and_the_record_s_release():
    differing = Comparison(triton.__version__, gone=("a#0",))
    foreign = Comparison("0.0.0", gone=("a#0",))
    loose, strict = Wanted(), Wanted(strict=True)
    assert exit_code(loose, outcome(differing, a=["red"])) == 1
    assert exit_code(loose, outcome(differing)) == 0
    assert exit_code(strict, outcome(differing)) == 1
    assert exit_code(strict, outcome(foreign)) == 0
    assert exit_code(strict, outcome(Comparison(triton.__version__))) == 0
    assert exit_code(strict, outcome(foreign, a=["red"])) == 1
