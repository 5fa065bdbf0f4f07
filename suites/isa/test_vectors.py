"""The engine against the ISA documents' pseudocode, as `record_vectors` recorded it."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rocassay.harness.engines.isa.asm import VCC
from rocassay.harness.engines.isa.state import LANES, State
from rocassay.suites.isa.registers import blank, execute, run

VECTORS = np.load(Path(__file__).parent / "vectors" / "pseudocode.npz")
HEADER: dict[str, Any] = json.loads(str(VECTORS["header"]))
TEXTS: dict[str, str] = HEADER["texts"]
HELD: NDArray[np.uint32] = VECTORS["registers"]
ROWS = HELD.shape[1]
MASK_IN = 0x5AA5_F00F_1234_8E71

DEVIATIONS: Mapping[str, tuple[int, str]] = {
    "v_div_scale_f32": (11, "the text asks whether a reciprocal is denormal in float64, which none is, and scales "
                        "the largest denominators to infinity; quotients below all denormals count as denormal here"),
    "v_div_fmas_f32": (74, "the text scales by 2^32 after rounding; LLVM's division needs 2^64 or 2^-64 before it"),
    "v_div_fixup_f32": (1, "a quotient that is NaN of two numbers comes from an overflow on the way: infinity"),
    "v_fract_f32": (4, "the text rounds to 1 what the chip keeps below; LLVM selects it for a minimum with 1 - 2^-24"),
    "v_ldexp_f32": (2, "the text multiplies by a power that overflows: 0 times infinity"),
    "v_rndne_f32": (20, "the text's floor(x + 0.5) loses the sign of zero"),
    "v_rsq_f32": (24, "the text rounds the root before the quotient: one unit"),
}  # fmt: skip
"""Where the engine is not what the text says: in how many rows, and why."""

_SIXTEEN = re.compile(r"_[uifb]16$")
"""Results of 16 bits: the text leaves the upper half alone, gfx9 makes it zero (LLVM, `zeroesHigh16BitsOfDest`)."""


def _state(name: str) -> State:
    """The recorded registers, one row a wave for scalar instructions, one a lane for vector ones."""
    scalar = name.startswith("s_")
    state = blank(ROWS if scalar else ROWS // LANES)
    if scalar:
        state.s[20:28] = HELD
        state.scc = np.arange(ROWS) & 1 == 1
        execute(state, MASK_IN)
    else:
        state.v[:8] = HELD.reshape(8, -1, LANES)
        state.put_scalar64(VCC, np.full(state.count, MASK_IN, np.uint64))
    return state


def _differences(name: str) -> list[int]:
    """Rows whose results differ; NaN is NaN where the results are numbers."""
    state = run(TEXTS[name], _state(name))
    differ = np.zeros(ROWS, np.bool_)
    for place, part in enumerate(("low", "high")):
        if f"{name}.{part}" in VECTORS:
            got = state.s[26 + place] if name.startswith("s_") else state.v[6 + place].ravel()
            expected = VECTORS[f"{name}.{part}"]
            if _SIXTEEN.search(name) and not name.startswith(("v_pk_", "v_pack_", "s_")):
                expected = expected & 0xFFFF
            differ |= _unlike(name, got, expected)
    if f"{name}.flag" in VECTORS:
        flags = np.unpackbits(VECTORS[f"{name}.flag"])[:ROWS] == 1
        got = state.scc if name.startswith("s_") else state.mask_of(4).ravel()
        differ |= got != flags
    return np.flatnonzero(differ).tolist()


def _unlike(name: str, got: NDArray[np.uint32], expected: NDArray[np.uint32]) -> NDArray[np.bool_]:
    kinds = {"f32": np.float32, "f16": np.float16}
    found = re.search(r"_(f32|f16)$", name)
    if not found or name == "v_pack_b32_f16":
        return got != expected
    pairs = (np.ascontiguousarray(x).view(kinds[found[1]]).reshape(ROWS, -1) for x in (got, expected))
    a, b = pairs
    same = (a == b) & (np.signbit(a) == np.signbit(b))
    return ~(same | (np.isnan(a) & np.isnan(b))).all(axis=1)


@pytest.mark.parametrize("name", [name for name in TEXTS if name not in DEVIATIONS])
def test_an_instruction_does_what_its_pseudocode_says(name: str) -> None:
    assert _differences(name) == []


@pytest.mark.parametrize("name", DEVIATIONS)
def test_a_deviation_from_the_text_is_in_as_many_rows_as_told(name: str) -> None:
    rows, _ = DEVIATIONS[name]
    assert len(_differences(name)) == rows


def test_the_vectors_say_where_they_come_from() -> None:
    assert HEADER["tool"]
    assert HEADER["version"]
    assert len(TEXTS) > 200
