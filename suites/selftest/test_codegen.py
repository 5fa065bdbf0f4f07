"""Static checks of code objects: what they read from a text, what turns them red, and how they differ from a record."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from triton import knobs

from rocassay.harness.arch import profile
from rocassay.harness.cases import Case
from rocassay.harness.codegen import CodeObject, compile_launch, options_of, source_of, target_of
from rocassay.harness.codegen import declared as declarations
from rocassay.harness.codegen.barriers import unawaited
from rocassay.harness.codegen.building import build, choose, code_of
from rocassay.harness.codegen.choosing import Origin, candidates, chosen, launches_of
from rocassay.harness.codegen.coverage import unknown_to_engine
from rocassay.harness.codegen.declared import Arithmetic, Budget, DeclarationError, budget_of, budgets, expected
from rocassay.harness.codegen.records import Code, Record, RecordError, Resources, read, updated, write
from rocassay.harness.codegen.text import CLASSES, by_class, class_of, listing, matrix_instructions, uses
from rocassay.harness.codegen.verdicts import compared, moves, problems, slack
from rocassay.harness.engines.launch import Launch
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import discover, op_named, register
from rocassay.suites.isa.programs import kernel_text
from rocassay.suites.selftest.codegen_kernels import KERNELS
from rocassay.suites.selftest.toys import toy_case, toy_op

TEXT = """\t.amdgcn_target "amdgcn-amd-amdhsa--gfx942"
\t.text
\t.globl\tkernel                  ; -- Begin function kernel
\t.p2align\t8
\t.type\tkernel,@function
kernel:                                 ; @kernel
.Lfunc_begin0:
\t.file\t1 "/somewhere/else" "kernel.py"
\t.loc\t1 39 0 prologue_end             ; kernel.py:39:0
\ts_load_dwordx2 s[2:3], s[0:1], 0x0
\tv_mov_b32_e32 v1, 0
.LBB0_1:                                ; =>This Inner Loop
\tv_add_u32_e32 v1, 1, v1
\tv_cmp_lt_u32_e64 vcc, v1, v2
\ts_waitcnt lgkmcnt(0)
\ts_barrier
\tv_mfma_f32_16x16x16_bf16 v[4:7], v[8:9], v[10:11], v[4:7]
\ts_cbranch_vccnz .LBB0_1
\ts_endpgm
.Lfunc_end0:
\t.size\tkernel, .Lfunc_end0-kernel
\t.set .Lkernel.num_vgpr, 12
\t.section\t.rodata,"a",@progbits
\t.amdhsa_kernel kernel
\t.section\t.debug_line
\ts_nop 9
"""

SAMPLES = {
    "valu": ("v_add_u32", "v_cvt_pk_fp8_f32", "v_accvgpr_read_b32", "v_mov_b32_sdwa"),
    "salu": ("s_add_i32", "s_mov_b64", "s_cmp_lt_i32", "s_setreg_imm32_b32"),
    "mfma": ("v_mfma_f32_16x16x16_bf16", "v_mfma_scale_f32_16x16x128_f8f6f4", "v_smfmac_f32_16x16x32_f16"),
    "vmem": ("buffer_load_dwordx4", "global_store_short", "scratch_load_dword", "flat_load_dword"),
    "smem": ("s_load_dwordx8", "s_buffer_load_dword", "s_memtime"),
    "lds": ("ds_read_b128", "ds_write2st64_b64", "ds_read_b64_tr_b16", "ds_add_u32"),
    "cross-lane": ("v_mov_b32_dpp", "v_readfirstlane_b32", "v_writelane_b32", "ds_bpermute_b32", "v_permlane16_swap"),
    "branch": ("s_branch", "s_cbranch_execz", "s_endpgm"),
    "wait": ("s_waitcnt", "s_nop"),
    "barrier": ("s_barrier",),
    "other": ("image_load",),
}  # fmt: skip

CASE = "fp8_mqa_logits:gfx942:e4m3fnuz:bs1:heads=64,clean=1:tagged:s0"
SCORES = "_score_windows_kernel"
FIT = Resources(vgprs=128, sgprs=40, lds=32768)
NO_BUDGETS: tuple[Budget, ...] = ()


def code(**changes: Any) -> Code:
    parts: dict[str, Any] = {
        "id": f"{CASE}#0", "op": "fp8_mqa_logits", "kernel": SCORES, "arch": "gfx942", "fp8": "e4m3fnuz",
        "resources": FIT, "digest": "a" * 16, "mix": {"v_add_u32": 3, "v_mfma_f32_32x32x16_fp8_fp8": 2},
        "uses": ("fp8 product",),
    }  # fmt: skip
    return Code(**{**parts, **changes})


def found(wrong: Code, allowed: tuple[Budget, ...] = NO_BUDGETS, *, pinned: bool = True) -> list[str]:
    return list(problems(wrong, allowed, pinned=pinned))


def launch_of(name: str) -> Launch:
    x = torch.zeros(32, 32)
    arguments = {"x": x, "out": x.clone(), "COUNT": 32}
    return Launch(KERNELS[name], (1, 1, 1), arguments, {"num_warps": 1})


@cache
def compiled(name: str, arch: str = "gfx942") -> tuple[str, bytes]:
    """(digest of the instructions, bytes of the binary's code)."""
    launch, target = launch_of(name), target_of(arch)
    options = options_of(launch, target)
    built: Any = triton.compile(source_of(launch, target, options), target=target, options=options)
    return listing(built.asm["amdgcn"]).digest, code_section(built.asm["hsaco"])


def code_section(binary: bytes) -> bytes:
    """The section .text of a 64-bit little-endian ELF file (System V ABI, "Section Header")."""

    def number(at: int, size: int) -> int:
        return int.from_bytes(binary[at : at + size], "little")

    table, width, count, names = number(40, 8), number(58, 2), number(60, 2), number(62, 2)
    heads = [table + width * place for place in range(count)]
    strings = number(heads[names] + 24, 8)
    for head in heads:
        first = strings + number(head, 4)
        if binary[first : binary.index(0, first)] == b".text":
            return binary[number(head + 24, 8) : number(head + 24, 8) + number(head + 32, 8)]
    raise AssertionError("no code")


# Reading a text


def test_a_listing_holds_instructions_and_labels_and_nothing_of_other_sections():
    code_ = listing(TEXT)
    assert next(code_.instructions) == "s_load_dwordx2 s[2:3], s[0:1], 0x0"
    assert len(list(code_.instructions)) == 9
    assert code_.lines[code_.labels[".LBB0_1"]] == "v_add_u32_e32 v1, 1, v1"


def test_the_mix_joins_encodings_and_counts_by_class():
    mix = listing(TEXT).mix
    assert mix["v_add_u32"] == mix["v_cmp_lt_u32"] == 1
    assert by_class(mix) == {"valu": 3, "mfma": 1, "smem": 1, "branch": 2, "wait": 1, "barrier": 1}
    assert sum(by_class(mix).values()) == sum(mix.values())


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_knows_its_own(name: str):
    assert {class_of(mnemonic) for mnemonic in SAMPLES[name]} == {name}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("kernel.py:39:0", "kernel.py:40:0"),
        ('"/somewhere/else"', '"/elsewhere"'),
        ("\t.loc\t1 39 0 prologue_end", "\t.loc\t1 7 3"),
        ("kernel", "other"),
        (".LBB0_1", ".LBB7_3"),
        ("num_vgpr, 12", "num_vgpr, 13"),
        ("v_mov_b32_e32 v1, 0", "v_mov_b32_e32  v1,  0   ; zero"),
        ("s_nop 9", "s_nop 8"),
    ],
)
def test_the_digest_does_not_see_names_paths_lines_and_comments(before: str, after: str):
    assert before in TEXT
    assert listing(TEXT.replace(before, after)).digest == listing(TEXT).digest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("v_mov_b32_e32 v1, 0", "v_mov_b32_e32 v1, 1"),
        ("v_add_u32_e32 v1, 1, v1", "v_add_u32_e64 v1, 1, v1"),
        ("\ts_barrier\n", ""),
        ("\ts_waitcnt lgkmcnt(0)\n\ts_barrier\n", "\ts_barrier\n\ts_waitcnt lgkmcnt(0)\n"),
        (".LBB0_1:  ", "\tv_nop\n.LBB0_1:  "),
        ("\tv_mov_b32_e32 v1, 0\n.LBB0_1:\n", ".LBB0_1:\n\tv_mov_b32_e32 v1, 0\n"),
        ("\tv_add_u32_e32", "\t.p2align\t8\n\tv_add_u32_e32"),
    ],
)
def test_the_digest_sees_every_change_of_the_code(before: str, after: str):
    plain = TEXT.replace(".LBB0_1:                                ; =>This Inner Loop", ".LBB0_1:")
    text = plain if before in plain else TEXT
    assert before in text
    assert listing(text.replace(before, after)).digest != listing(text).digest


def test_equal_digests_are_equal_binaries_and_different_ones_are_not():
    seen = [compiled(name) for name in ("twice", "twofold", "thrice")]
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[2][0]
    assert seen[0][1] != seen[2][1]


def test_what_arithmetic_uses_is_told_by_the_chip():
    mix = {"v_mfma_f32_16x16x32_fp8_fp8": 1, "v_mfma_f32_16x16x16_bf16": 1, "v_cvt_pk_f32_fp8_sdwa": 1}
    assert uses(mix, profile("gfx942")) == {"fp8 product", "bf16 product", "widening"}
    assert uses({"v_cvt_scalef32_pk_fp8_f32": 1}, profile("gfx950")) == {"narrowing"}
    assert uses({"v_mfma_f32_16x16x4_f32": 1}, profile("gfx942")) == {"other product"}
    assert uses({"v_mfma_f32_32x32x8_f16": 1}, profile("gfx942")) == {"fp16 product"}
    assert uses({"v_mfma_scale_f32_16x16x128_f8f6f4": 1}, profile("gfx950")) == {"fp8 product"}
    assert uses({"v_cvt_f32_u32": 1, "v_cvt_pk_bf16_f32": 1}, profile("gfx950")) == frozenset()
    assert list(matrix_instructions(mix)) == ["v_mfma_f32_16x16x16_bf16", "v_mfma_f32_16x16x32_fp8_fp8"]


# What the machine-code engine knows


def test_an_unknown_mnemonic_and_an_unknown_form_of_a_known_one_are_named_once_each():
    lines = ["v_frobnicate_b32 v1, v2", "v_frobnicate_b32 v3, v4", "v_add_u32_e32 v1, v2, v3 sparkle:1", "s_branch .L1"]
    text = ".text\n.L1:\n" + "".join(f"\t{line}\n" for line in lines)
    refused = unknown_to_engine(listing(text), "gfx942")
    assert [words.partition(":")[0] for words in refused] == ["v_add_u32", "v_frobnicate_b32"]
    assert "sparkle" in refused[0]


def test_what_compilers_write_every_day_is_known():
    assert unknown_to_engine(listing(TEXT), "gfx942") == ()


# What turns a code object red


def test_a_code_object_as_declared_has_no_problem():
    assert found(code()) == []


def test_a_compiler_s_message_is_the_problem():
    (problem,) = found(code(error="LLVM ERROR: out of registers"))
    assert "LLVM ERROR: out of registers" in problem


def test_lds_beyond_the_chip_s_is_red_there_only():
    large = FIT.model_copy(update={"lds": 65537})
    other = {"id": CASE.replace("gfx942:e4m3fnuz", "gfx950:e4m3fn") + "#0", "arch": "gfx950", "fp8": "e4m3fn"}
    (problem,) = found(code(resources=large))
    assert "65537 of 65536" in problem
    assert found(code(resources=large, **other)) == []
    assert found(code(resources=large.model_copy(update={"lds": 163841}), **other)) != []


@pytest.mark.parametrize("name", ["vgpr_spills", "sgpr_spills", "scratch"])
def test_each_kind_of_spill_needs_a_budget_and_may_not_exceed_it(name: str):
    limit = "scratch_bytes" if name == "scratch" else name
    spilling = code(resources=FIT.model_copy(update={name: 5}))
    enough = Budget(kernel=SCORES, arch="gfx942", reason="so it is").model_copy(update={limit: 5})
    assert len(found(spilling)) == 1
    assert found(spilling, (enough,)) == []
    assert len(found(spilling, (enough.model_copy(update={limit: 4}),))) == 1
    assert len(found(spilling, (enough.model_copy(update={"arch": "gfx950"}),))) == 1
    assert len(found(spilling, (enough.model_copy(update={"kernel": "other"}),))) == 1


def test_a_flavour_s_own_budget_is_before_the_kernel_s():
    own = Budget(kernel=SCORES, arch="gfx942", fp8="e4m3fnuz", reason="own", vgpr_spills=1)
    general = Budget(kernel=SCORES, arch="gfx942", reason="general", vgpr_spills=9)
    assert budget_of((general, own), SCORES, "gfx942", "e4m3fnuz") is own
    assert budget_of((own, general), SCORES, "gfx942", "e4m3fn") is general
    assert budget_of((own, general), "other", "gfx942", "e4m3fn").vgpr_spills == 0


def test_the_emulated_product_in_place_of_the_native_one_is_red_twice():
    wrong = found(code(uses=("fp16 product",)))
    assert len(wrong) == 2
    assert "no fp8 product" in wrong[0]
    assert "a fp16 product" in wrong[1]


def test_a_foreign_flavour_multiplied_or_converted_by_the_chip_is_red():
    foreign = {"id": CASE.replace("e4m3fnuz", "e4m3fn") + "#0", "fp8": "e4m3fn"}
    assert found(code(**foreign, uses=("fp16 product",))) == []
    assert len(found(code(**foreign, uses=("fp8 product",)))) == 2
    assert len(found(code(**foreign, uses=("fp16 product", "widening")))) == 1


def test_a_kernel_nobody_declared_may_not_multiply_matrices():
    assert found(code(kernel="stranger", uses=())) == []
    assert len(found(code(kernel="stranger", uses=("bf16 product",)))) == 1


def test_a_conversion_by_integers_is_red_under_the_record_s_triton_only():
    name = "_per_token_group_quant_fp8_kernel"
    assert len(found(code(kernel=name, uses=()), pinned=True)) == 1
    assert found(code(kernel=name, uses=()), pinned=False) == []
    assert found(code(kernel=name, uses=("narrowing",))) == []


def test_what_the_engine_does_not_know_is_red_and_named():
    (problem,) = found(code(unknown=("v_frobnicate_b32: instruction is not known",)))
    assert "v_frobnicate_b32" in problem


def test_a_barrier_that_is_passed_too_early_is_red_and_named():
    (problem,) = found(code(unawaited=("the barrier of line 7 is passed while `ds_write_b32` may be under way",)))
    assert problem.startswith("the barrier of line 7 is passed")


STORE, LOAD, COPY = "ds_write_b32 v1, v0", "ds_read_b32 v2, v1", "buffer_load_dword v0, s[8:11], 0 offen lds"


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        ((STORE, "s_waitcnt lgkmcnt(0)", "s_barrier"), 0),
        ((STORE, "s_barrier"), 1),
        ((STORE, "s_waitcnt vmcnt(0)", "s_barrier"), 1),
        ((LOAD, "s_barrier"), 1),
        ((STORE, STORE, "s_waitcnt lgkmcnt(1)", "s_barrier"), 1),
        ((COPY, "s_barrier"), 0),
        (("s_waitcnt lgkmcnt(0)", ".LBB0_1:", "s_barrier", STORE, "s_cbranch_scc1 .LBB0_1"), 1),
        ((".LBB0_1:", "s_waitcnt lgkmcnt(0)", "s_barrier", STORE, "s_cbranch_scc1 .LBB0_1"), 0),
    ],
)
def test_an_lds_access_under_way_at_a_barrier_is_found_on_every_path(lines: tuple[str, ...], count: int):
    assert len(unawaited(kernel_text("\n".join(lines), 0, 0), "kernel")) == count


def test_code_that_cannot_be_read_is_not_taken_for_code_without_a_finding():
    (said,) = unawaited(kernel_text("ds_frobnicate v1, @@\ns_barrier", 0, 0), "kernel")
    assert said.startswith("its barriers cannot be judged, ")


def test_the_first_declaration_that_holds_counts(monkeypatch: pytest.MonkeyPatch):
    special = Arithmetic(("k",), frozenset({"fp8 product"}), frozenset(), when=lambda case: case.block_size == 16)
    general = Arithmetic(("k",), frozenset({"bf16 product"}), frozenset({"fp16 product"}))
    monkeypatch.setattr(declarations, "_DECLARED", [special, general])
    native = toy_case(block_size=16, arch="gfx950")
    assert expected("k", native) == {"fp8 product"}
    assert expected("k", replace(native, block_size=1)) == {"bf16 product"}
    assert expected("k", replace(native, block_size=1, arch="gfx942")) == {"fp16 product"}


# From a case to what is known of its code objects


def square(case: Case, stream: Stream) -> Operands:
    return Operands(inputs={"x": torch.zeros(32, 32)}, outputs={"out": torch.zeros(32, 32)})


def compiling_op() -> None:
    register(toy_op(launcher="rocassay.suites.selftest.codegen_kernels:launch", inputs=square, probes=()))


def built(mode: str) -> Code:
    case = toy_case(mode)
    (origin,) = chosen(toy_op(), [case])
    return build(origin)


@pytest.mark.usefixtures("registry")
def test_a_launch_becomes_what_is_known_of_its_code():
    compiling_op()
    known = built("twice")
    assert (known.kernel, known.error, known.unknown, found(known)) == ("twice", "", (), [])
    assert known.digest == listing(compile_launch(launches_of(toy_case("twice"))[0][0], "gfx942").asm).digest[:16]
    assert known.mix["s_endpgm"] == 1
    assert known.resources.vgprs > 0


@pytest.mark.usefixtures("registry")
def test_a_kernel_that_does_not_compile_is_red_with_the_compiler_s_message(tmp_path: Path):
    compiling_op()
    with knobs.cache.scope():
        knobs.cache.dir = str(tmp_path)
        (problem,) = found(built("refused"))
    assert "the toy is refused" in problem


@pytest.mark.usefixtures("registry")
def test_a_launcher_that_raises_is_red_with_what_it_raised():
    compiling_op()
    (problem,) = found(built("raises"))
    assert "ZeroDivisionError: the toy broke" in problem


@pytest.mark.usefixtures("registry")
def test_an_undeclared_product_is_seen_in_compiled_code():
    compiling_op()
    (problem,) = found(built("multiplied"))
    assert "bf16 product" in problem


@pytest.mark.usefixtures("registry")
def test_one_launch_a_value_is_chosen_and_equal_ones_once():
    compiling_op()
    cases = [toy_case("twice", number=number) for number in range(3)] + [toy_case("thrice")]
    for every in (False, True):
        for order in (cases, cases[::-1]):
            assert [origin.case for origin in choose((tuple(order), every))] == [cases[3], cases[0]]


def test_representatives_show_every_decision_and_specialisation_of_an_op_and_are_fewer():
    discover()
    op = op_named("indexer_weights")
    cases = list(op.cases("quick"))
    every = [candidate for case in cases for candidate in candidates(case)]
    few = {origin.id for origin in chosen(op, cases)}
    for arch in ("gfx942", "gfx950"):
        own = [(origin, traits) for origin, traits in every if origin.case.arch == arch]
        shown = frozenset().union(*(traits for origin, traits in own if origin.id in few))
        assert shown == frozenset().union(*(traits for _, traits in own))
    assert len(few) < len({origin.source for origin, _ in every})


# The record


def recorded(*codes: Code, triton_: str = "3.9.0") -> Record:
    return updated(Record(), codes, triton_, ())


def test_a_record_is_read_as_it_was_written_and_written_alike(tmp_path: Path):
    record = recorded(code(), code(id="b#0", digest="b" * 16, mix={"s_nop": 1}))
    write(tmp_path / "one", record)
    again = read(tmp_path / "one")
    write(tmp_path / "two", again)
    assert again == record
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert len((tmp_path / "one").read_text().splitlines()) == 11
    write(tmp_path / "other order", recorded(code(id="b#0", digest="b" * 16, mix={"s_nop": 1}), code()))
    assert (tmp_path / "other order").read_bytes() == (tmp_path / "one").read_bytes()


def test_no_file_is_an_empty_record_and_a_broken_one_is_said_so(tmp_path: Path):
    assert read(tmp_path / "none") == Record()
    (tmp_path / "broken").write_text('{"triton": 3}')
    with pytest.raises(RecordError, match="broken is no record"):
        read(tmp_path / "broken")


def test_equal_code_of_two_launches_is_kept_once_and_forgotten_with_the_last():
    record = recorded(code(), code(id="b#0"))
    assert len(record.mixes) == 1
    assert updated(record, [code(digest="c" * 16), code(id="b#0", digest="c" * 16)], "3.9.0", ()).mixes.keys() == {
        "c" * 16
    }


def test_a_part_recorded_under_another_release_is_refused_and_the_whole_is_not():
    record = recorded(code(), code(id="b#0"))
    with pytest.raises(RecordError, match=r"Triton 3\.9\.0 and this is 3\.10\.0"):
        updated(record, [code()], "3.10.0", ())
    assert updated(record, [code()], "3.10.0", ["b#0"]).triton == "3.10.0"


def test_what_does_not_compile_stays_as_it_was_recorded():
    record = recorded(code())
    assert updated(record, [code(error="no", digest="")], "3.9.0", ()) == record


def test_same_changed_new_and_gone_are_told_apart():
    record = recorded(code(id="same#0"), code(id="changed#0"), code(id="grown#0"), code(id="gone#0"))
    now = [
        code(id="same#0"),
        code(id="changed#0", digest="d" * 16, mix={"v_add_u32": 4, "s_nop": 1}),
        code(id="grown#0", resources=FIT.model_copy(update={"vgprs": 130})),
        code(id="new#0"),
    ]
    comparison = compared(now, record, record.codes)
    assert comparison.states == {"same#0": "same", "changed#0": "changed", "grown#0": "changed", "new#0": "new"}
    assert comparison.gone == ("gone#0",)
    assert not comparison.clean
    assert compared(now[:1], record, ["same#0"]).clean
    assert compared([now[0], now[3]], record, ["same#0"], every=True).clean


def test_the_diff_of_mixes_shows_what_came_went_and_moved():
    record = recorded(code(id="one#0"), code(id="two#0"))
    after = {"v_add_u32": 4, "s_nop": 1}
    now = [code(id=name, digest="d" * 16, mix=after) for name in ("one#0", "two#0")]
    diff = moves(compared(now, record, ()).changed)
    assert diff == {(SCORES, "gfx942", "e4m3fnuz"): ["+s_nop 2", "-v_mfma_f32_32x32x16_fp8_fp8 4", "v_add_u32 6 → 8"]}


def test_a_budget_above_what_is_needed_is_said():
    spilling = code(resources=FIT.model_copy(update={"vgpr_spills": 5}))
    tight = Budget(kernel=SCORES, arch="gfx942", reason="so it is", vgpr_spills=5)
    assert slack([spilling], [tight]) == ()
    assert len(slack([spilling], [tight.model_copy(update={"vgpr_spills": 6})])) == 1
    assert len(slack([], [tight])) == 1
    another = code(kernel="other", resources=FIT.model_copy(update={"vgpr_spills": 9}))
    assert len(slack([spilling, another], [tight.model_copy(update={"vgpr_spills": 6})])) == 1


def test_a_budget_without_a_reason_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "budgets.json"
    monkeypatch.setattr(declarations, "beside", lambda _: file)
    file.write_text('[{"kernel": "k", "arch": "gfx942", "reason": " "}]')
    with pytest.raises(DeclarationError, match="k on gfx942 has no reason"):
        budgets()
    file.write_text('[{"kernel": "k", "arch": "gfx942"}]')
    with pytest.raises(DeclarationError, match="holds no budgets"):
        budgets()


def test_everything_a_code_object_says_is_kept():
    text = TEXT.replace("\ts_barrier\n", "\tv_frobnicate_b32 v1\n")
    spoken = CodeObject("kernel", "gfx942", text, 1, 2, 3, 4, 5, 6, ir="", digest="")
    known = code_of(Origin(toy_case("twice"), 0, "kernel", ""), spoken)
    assert known.resources == Resources(lds=1, vgpr_spills=2, sgpr_spills=3, scratch=4, vgprs=5, sgprs=6)
    assert known.uses == ("bf16 product",)
    assert "v_frobnicate_b32" in known.unknown[0]


def test_scalar_registers_that_go_to_lanes_are_counted_as_the_code_writes_them():
    discover()
    name = "indexer_decode_lens:gfx942:e4m3fn:bs1:ratio=1,requests=4,next_n=4,adaptive=0:worked:s0"
    (launch,) = launches_of(Case.parse(name))[0]
    spoken = compile_launch(launch, "gfx942")
    assert spoken.scalar_spills == listing(spoken.asm).mix["v_writelane_b32"] > 0


def test_code_of_a_launch_without_an_id_in_the_tier_keeps_its_case():
    origin = Origin(toy_case("twice"), 2, "twice", "")
    known = code_of(origin, compile_launch(launch_of("twice"), "gfx942"))
    assert Case.parse(known.id.rpartition("#")[0]) == origin.case
    assert known.id.endswith("#2")
