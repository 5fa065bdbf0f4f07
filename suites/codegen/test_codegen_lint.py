"""The static checks see what they are for, in kernels that carry one defect each, and nothing in sound ones."""

from __future__ import annotations

import linecache
from dataclasses import replace

import pytest

from rocassay.harness.codegen import compile_launch
from rocassay.harness.codegen_lint import narrow_products, problems
from rocassay.harness.engines.launch import Launch
from rocassay.harness.faults import ChangeSource, fault_named
from rocassay.harness.faults.source import mutated
from rocassay.harness.ops import discover
from rocassay.suites.codegen import test_gluon_codegen as gluon
from rocassay.suites.codegen import test_indexer_codegen as indexer

NATIVE = [("gfx942", "e4m3fnuz"), ("gfx950", "e4m3fn")]
OPS = ("indexer_k_quant_and_cache", "cp_gather_indexer_k_quant_cache", "fp8_paged_mqa_logits")
HEAD = "module {\n  tt.func @kernel(%table: !tt.ptr<i32>, %pool: !tt.ptr<f32>, %stride: i32) {\n"
LOAD = "    %page = tt.load %table : !tt.ptr<i32> loc(#loc1)\n"
PLACE = '#loc1 = loc("kernel.py":7:3)\n'


def ir(*lines: str) -> str:
    return f"{PLACE}{HEAD}{LOAD}" + "".join(f"    {line} loc(#loc1)\n" for line in lines) + "  }\n}\n"


def launch_of(op: str, arch: str, fp8: str) -> Launch:
    if op == OPS[0]:
        return indexer.writer_launch(arch, fp8)
    if op == OPS[1]:
        return indexer.gather_launch(arch)
    return indexer.logits_launches(indexer.triton_variant(arch, fp8, 64, "single"))[0]


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_shipped_kernels_have_no_problem(op: str, arch: str, fp8: str) -> None:
    code = compile_launch(launch_of(op, arch, fp8), arch)
    assert list(problems(code, fp8_dot=op == OPS[2])) == []


@pytest.mark.parametrize("shape", gluon.SHAPES, ids=str)
@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_the_gluon_kernel_has_no_problem(arch: str, fp8: str, shape: tuple[int, int, int, int]) -> None:
    assert list(problems(gluon.code_of(arch, fp8, *shape), fp8_dot=True)) == []


@pytest.mark.parametrize("op", OPS)
def test_a_block_id_multiplied_in_thirty_two_bits_is_seen_at_its_line(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    discover()
    fault = fault_named("indexer-block-id-int32")
    seam = fault.seams[op]
    assert isinstance(seam, ChangeSource)
    module = mutated(fault.name, seam)
    monkeypatch.setattr(indexer, op, getattr(module, op))
    (product,) = narrow_products(compile_launch(launch_of(op, "gfx942", "e4m3fnuz"), "gfx942").ir)
    # A rewritten module exists in memory only; linecache holds its lines.
    assert linecache.getline(str(module.__file__), product.line or 0).strip() == seam.becomes


def test_a_tile_for_the_larger_part_is_seen_to_exceed_the_lds_of_gfx942_only() -> None:
    def found(arch: str, fp8: str) -> list[str]:
        variant = replace(indexer.triton_variant(arch, fp8, 64, "single"), kv_tile=512)
        return list(problems(compile_launch(indexer.logits_launches(variant)[0], arch)))

    assert any("bytes of LDS" in problem for problem in found("gfx942", "e4m3fnuz"))
    assert not any("bytes of LDS" in problem for problem in found("gfx950", "e4m3fn"))


@pytest.mark.filterwarnings("ignore:fp8e4b8 is AMD gfx942 specific")
@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_a_hard_coded_flavour_is_seen_as_a_product_in_fp16(arch: str, fp8: str) -> None:
    foreign = {"e4m3fn": "e4m3fnuz", "e4m3fnuz": "e4m3fn"}[fp8]
    variant = replace(indexer.triton_variant(arch, fp8, 64, "single"), fp8=foreign)
    found = list(problems(compile_launch(indexer.logits_launches(variant)[0], arch), fp8_dot=True))
    assert any("no FP8 matrix instruction" in problem for problem in found)
    assert any("after an upcast" in problem for problem in found)


def test_widening_after_the_product_is_too_late() -> None:
    narrow = ir(
        "%at = arith.muli %page, %stride : i32",
        "%wide = arith.extsi %at : i32 to i64",
        "%address = tt.addptr %pool, %wide : !tt.ptr<f32>, i64",
    )
    assert [product.line for product in narrow_products(narrow)] == [7]


def test_a_product_of_widened_factors_is_sound() -> None:
    wide = ir(
        "%page64 = arith.extsi %page : i32 to i64",
        "%stride64 = arith.extsi %stride : i32 to i64",
        "%at = arith.muli %page64, %stride64 : i64",
        "%address = tt.addptr %pool, %at : !tt.ptr<f32>, i64",
    )
    assert narrow_products(wide) == ()


def test_a_remainder_and_a_quotient_multiplied_by_its_divisor_are_harmless() -> None:
    bounded = ir(
        "%c16 = arith.constant 16 : i32",
        "%row = arith.remsi %page, %c16 : i32",
        "%inside = arith.muli %row, %stride : i32",
        "%tile = arith.divsi %page, %c16 : i32",
        "%first = arith.muli %tile, %c16 : i32",
        "%both = arith.addi %inside, %first : i32",
        "%address = tt.addptr %pool, %both : !tt.ptr<f32>, i32",
    )
    assert narrow_products(bounded) == ()


def test_a_product_that_addresses_nothing_is_nobodys_business() -> None:
    assert narrow_products(ir("%at = arith.muli %page, %stride : i32", "tt.store %table, %at : !tt.ptr<i32>")) == ()


def test_a_loop_carries_products_from_one_turn_to_the_next() -> None:
    loop = ir(
        "%end = scf.for %i = %stride to %stride step %stride iter_args(%at = %stride) -> (i32)  : i32 {",
        "  %address = tt.addptr %pool, %at : !tt.ptr<f32>, i32",
        "  %next = arith.muli %page, %stride : i32",
        "  scf.yield %next : i32",
        "}",
    )
    assert [product.line for product in narrow_products(loop)] == [7]
