"""The architecture profiles: complete, sourced, and in agreement with Triton's AMD compiler."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import re
import subprocess
import sys

import pytest
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from rocassay.harness import arch
from rocassay.harness.fp8 import FORMATS, format_of

PROFILES = list(arch.PROFILES.values())
MODULE = ast.parse(inspect.getsource(arch))

each_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
# Triton 3.6 emits no FP8 instruction for gfx1250 and lowers its fp16 dot otherwise: a fact about that compiler.
OLD_TRITON = tuple(int(part) for part in triton.__version__.split(".")[:2]) < (3, 9)
COMPILED = tuple(profile for profile in PROFILES if profile.name != "gfx1250" or not OLD_TRITON)
each_compiled = pytest.mark.parametrize("profile", COMPILED, ids=lambda profile: profile.name)
compiles = pytest.mark.filterwarnings("ignore::UserWarning")  # Triton warns of a flavour that it upcasts


@triton.jit
def square_dot(x_ptr, y_ptr, out_ptr, ROWS: tl.constexpr, K: tl.constexpr, DTYPE: tl.constexpr):
    row = tl.arange(0, ROWS)
    k = tl.arange(0, K)
    x = tl.load(x_ptr + row[:, None] * K + k[None, :]).to(DTYPE, bitcast=True)
    y = tl.load(y_ptr + row[:, None] * K + k[None, :]).to(DTYPE, bitcast=True)
    tl.store(out_ptr + row[:, None] * ROWS + row[None, :], tl.dot(x, y.T))


def dot_assembly(profile: arch.ArchProfile, dtype: tl.dtype) -> str:
    bits = "*u8" if dtype.primitive_bitwidth == 8 else "*u16"
    constants = {"ROWS": 32, "K": 128, "DTYPE": dtype}
    signature = {"x_ptr": bits, "y_ptr": bits, "out_ptr": "*fp32", **dict.fromkeys(constants, "constexpr")}
    target = GPUTarget("hip", profile.name, profile.wave_size)
    return triton.compile(ASTSource(square_dot, signature, constants), target=target).asm["amdgcn"]


def has_native_fp8_dot(profile: arch.ArchProfile, assembly: str) -> bool:
    pattern = profile.fp8_matrix_instruction
    return pattern is not None and re.search(pattern, assembly) is not None


@pytest.mark.parametrize("record", ["ArchProfile", "Target"])
def test_every_field_is_followed_by_a_docstring(record: str):
    body = next(node.body for node in MODULE.body if isinstance(node, ast.ClassDef) and node.name == record)
    fields = [index for index, node in enumerate(body) if isinstance(node, ast.AnnAssign)]
    bare = [ast.unparse(body[index]) for index in fields if not isinstance(body[index + 1], ast.Expr)]
    assert fields
    assert not bare


def test_sources_cite_exactly_the_fields_of_a_profile():
    assert set(arch.SOURCES) == {field.name for field in dataclasses.fields(arch.ArchProfile)}
    assert all(arch.SOURCES.values())


def test_profile_is_found_by_its_own_name():
    assert all(arch.profile(name).name == name for name in arch.PROFILES)


@pytest.mark.parametrize("name", ["gfx1201", "gfx940", "gfx942:sramecc+:xnack-", "GFX942", ""])
def test_unknown_profile_is_refused_by_value_and_with_the_known_ones(name: str):
    with pytest.raises(arch.UnknownArch) as refusal:
        arch.profile(name)
    assert repr(name) in str(refusal.value)
    assert all(known in str(refusal.value) for known in arch.PROFILES)


def test_rdna4_has_dispatch_rows_but_no_profile():
    assert set(arch.DISPATCH_ARCHES) - set(arch.PROFILES) == {"gfx1201"}
    assert [name for name in arch.DISPATCH_ARCHES if arch.is_rdna4(name)] == ["gfx1201"]
    assert arch.is_rdna4("gfx1200")
    assert arch.cdna_of("gfx1201") is None


def test_cdna_generation_decides_whether_aiter_counts_as_supported():
    assert {name: arch.cdna_of(name) for name in arch.PROFILES} == {
        "gfx90a": 2,
        "gfx942": 3,
        "gfx950": 4,
        "gfx1250": 5,
    }
    assert all(p.aiter_supported == (p.cdna is not None and p.cdna > 2) for p in PROFILES)


def test_only_gfx942_uses_the_fnuz_flavour():
    assert {name: arch.fp8_format_of(name) for name in arch.DISPATCH_ARCHES} == {
        "gfx90a": "e4m3fn",
        "gfx942": "e4m3fnuz",
        "gfx950": "e4m3fn",
        "gfx1250": "e4m3fn",
        "gfx1201": "e4m3fn",
    }
    assert [p.name for p in PROFILES if p.fnuz] == ["gfx942"]


def test_platform_flags_are_those_of_the_platform_layer():
    assert {p.name for p in PROFILES if p.mi3xx} == {"gfx942", "gfx950"}
    assert {p.name for p in PROFILES if p.gfx9} == {"gfx90a", "gfx942", "gfx950"}
    assert {p.name for p in PROFILES if p.mx} == {"gfx950", "gfx1250"}
    assert {p.name: p.capability for p in PROFILES} == {
        "gfx90a": (9, 0),
        "gfx942": (9, 4),
        "gfx950": (9, 5),
        "gfx1250": (12, 5),
    }


@each_profile
def test_fp8_names_are_formats_and_a_native_platform_takes_its_own(profile: arch.ArchProfile):
    assert profile.fp8 in FORMATS
    assert profile.native_fp8 <= set(FORMATS)
    assert bool(profile.native_fp8) == (profile.fp8_matrix_instruction is not None)
    assert profile.fp8 in profile.native_fp8 or not profile.native_fp8


@compiles
@each_compiled
def test_the_compiler_multiplies_exactly_the_native_formats_natively(profile: arch.ArchProfile):
    dtypes = {name: getattr(tl, format_of(name).triton_name) for name in ("e4m3fn", "e4m3fnuz")}
    native = {name for name in dtypes if has_native_fp8_dot(profile, dot_assembly(profile, dtypes[name]))}
    assert native == profile.native_fp8 & set(dtypes)


@compiles
@each_compiled
def test_an_fp16_dot_is_told_from_a_native_fp8_dot(profile: arch.ArchProfile):
    assembly = dot_assembly(profile, tl.float16)
    assert re.search(profile.f16_matrix_instruction, assembly)
    assert not has_native_fp8_dot(profile, assembly)


def test_target_refuses_an_architecture_without_dispatch_rows():
    assert arch.Target("gfx1201", "interpreter", frozenset(FORMATS)).arch == "gfx1201"
    with pytest.raises(arch.UnknownArch, match="'gfx940'"):
        arch.Target("gfx940", "hip", frozenset())


def test_profiles_are_readable_without_importing_torch():
    program = "import sys, rocassay.harness.arch; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0
