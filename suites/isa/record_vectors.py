"""Record what the official pseudocode gives for random registers; for development only.

Needs tinygrad, in an environment of its own: `python -m rocassay.suites.isa.record_vectors`. The tinygrad wheel
carries the text of AMD's CDNA ISA document by mnemonic; `pseudocode` interprets it. The file holds the registers, and
of every instruction its assembly text and what it writes: results, and a mask or condition code.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false, reportUnknownParameterType=false

from __future__ import annotations

import datetime
import importlib.metadata
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from rocassay.harness.engines.isa import compares, salu, valu
from rocassay.suites.isa.pseudocode import Lane, execute
from rocassay.suites.isa.pseudonumbers import NotKnown, bits_of
from rocassay.suites.isa.registers import LANES, words

FILE = Path(__file__).parent / "vectors" / "pseudocode.npz"
SEED, ROWS = 2026, 3 * LANES
REGISTERS = 8
"""Sources 0 to 2 in pairs from 0 on, then the destination's old value."""

MASK_IN = 0x5AA5_F00F_1234_8E71


def registers() -> NDArray[np.uint32]:
    """uint32 [registers, rows]: any bits, numbers of both precisions, small integers; some sources are equal."""
    draw = np.random.default_rng(SEED)
    found = words(SEED, REGISTERS, ROWS)
    kinds = draw.integers(0, 5, (REGISTERS, ROWS))
    numbers = (draw.standard_normal((REGISTERS, ROWS)) * 8).astype(np.float32).view(np.uint32)
    halves = draw.standard_normal((REGISTERS, ROWS, 2)).astype(np.float16).view(np.uint32)[..., 0]
    found = np.where(kinds == 1, numbers, np.where(kinds == 2, halves, np.where(kinds == 3, found & 0x3F003F, found)))
    found[2:4, ::7] = found[0:2, ::7]
    return found.astype(np.uint32)


def names() -> Iterator[str]:
    """Every mnemonic of the vector and the scalar unit."""
    yield from valu.MAKERS
    yield from salu.MNEMONICS
    for kind in compares.KINDS:
        yield from (f"v_cmp_{relation}_{kind}" for relation in compares.relations(kind))


def text_of(name: str, library: Mapping[str, str]) -> str | None:
    """Pseudocode of a mnemonic, whatever its encoding."""
    return next(
        (library[name.upper() + suffix] for suffix in ("", "_E64", "_E32") if name.upper() + suffix in library), None
    )


def _wide(code: str, source: str) -> bool:
    return bool(re.search(rf"{source}(?:\.[uifb]64|\[63 : 32\])", code))


def assembly(name: str, code: str) -> str:
    """An instruction on the recorded registers, with the operands that its pseudocode mentions."""
    scalar = name.startswith("s_")
    file, kind = ("s", 20) if scalar else ("v", 0)

    def at(first: int, wide: bool) -> str:
        return f"{file}[{kind + first}:{kind + first + 1}]" if wide else f"{file}{kind + first}"

    sources = [at(2 * n, _wide(code, f"S{n}")) for n in range(3) if f"S{n}" in code]
    if "SIMM32" in code:
        sources.insert(1 if name == "v_fmamk_f32" else 2, "0x40490fdb")
    if name.startswith(("s_addk", "s_mulk", "s_movk")):
        sources = ["0x9005"]
    elif name.startswith("s_cmpk"):
        sources[1] = "0x9005"
    carries = "VCC.u64[laneId]" in code or "D1." in code or name == "v_div_scale_f32"
    if name.startswith("v_cmp_"):
        return f"{name}_e64 s[4:5], {', '.join(sources)}"
    target = [] if name.startswith(("s_cmp", "s_bitcmp")) else [at(6, _wide(code, "D0"))]
    into = ["s[4:5]"] if carries and name != "v_cndmask_b32" and name != "v_div_fmas_f32" else []
    out = ["vcc"] if name == "v_cndmask_b32" or (into and re.match(r"v_(addc|subb|subbrev)_co", name)) else []
    return f"{name} {', '.join([*target, *into, *sources, *out])}"


def recorded(name: str, code: str, held: NDArray[np.uint32], library: Mapping[str, str]) -> dict[str, Any]:
    """Arrays of the results of all rows: low, high where the result is a pair, flag where it has one."""
    scalar, wide = name.startswith("s_"), _wide(code, "D0") and not name.startswith("v_cmp_")
    low, high, flags = list[int](), list[int](), list[int]()
    for row in range(ROWS):
        column = [int(x) for x in held[:, row]]
        pairs = [column[n] | column[n + 1] << 32 for n in range(0, 8, 2)]
        lane = Lane({"S0": pairs[0], "S1": pairs[1], "S2": pairs[2], "D0": pairs[3], "laneId": row % LANES,
                     "VCC": MASK_IN, "SCC": row & 1, "EXEC": MASK_IN, "SIMM32": 0x40490FDB}, library)  # fmt: skip
        if name == "v_div_scale_f32":  # the text does not say that the number is passed on where no case holds
            lane.names["D0"] = pairs[0]
        elif name.startswith(("s_addk", "s_mulk", "s_movk")):
            lane.names["S0"] = 0x9005
        elif name.startswith("s_cmpk"):
            lane.names["S1"] = 0x9005
        execute(code, lane)
        result = bits_of(lane.names["D0"])
        low.append(result & 0xFFFFFFFF)
        high.append(result >> 32 & 0xFFFFFFFF)
        flags.append(_flag(name, lane, row % LANES) if not scalar else bits_of(lane.names["SCC"]) & 1)
    found: dict[str, Any] = {}
    if not name.startswith(("v_cmp_", "s_cmp", "s_bitcmp")):
        found["low"] = np.array(low, np.uint32)
        if wide:
            found["high"] = np.array(high, np.uint32)
    if scalar or " s[4:5]," in assembly(name, code).replace("v[6:7],", "").replace("v6,", ""):
        found["flag"] = np.packbits(np.array(flags, np.uint8))
    return found


def _flag(name: str, lane: Lane, number: int) -> int:
    if name.startswith("v_cmp_"):
        return bits_of(lane.names["D0"]) >> number & 1
    if "D1" in lane.names:
        return bits_of(lane.names["D1"]) & 1
    vcc = bits_of(lane.names["VCC"])
    return vcc & 1 if name == "v_div_scale_f32" else vcc >> number & 1


def main(file: Annotated[Path, typer.Option(help="Where to write.")] = FILE) -> None:
    """Write the vectors, and say which mnemonics have none."""
    from tinygrad.runtime.autogen.amd.cdna.str_pcode import PCODE  # type: ignore[import-not-found]

    library: dict[str, str] = {}
    for op, code in PCODE.items():
        library.setdefault(op.name, code)
        library.setdefault(op.name.removesuffix("_E64").removesuffix("_E32"), code)
    held, arrays, texts, left = registers(), dict[str, Any](), dict[str, str](), dict[str, str]()
    for name in names():
        code = text_of(name, library)
        if code is None:
            left[name] = "not in the document"
            continue
        try:
            found = recorded(name, code, held, library)
        except NotKnown as error:
            left[name] = str(error).split("\n")[0][:80]
            continue
        texts[name] = assembly(name, code)
        arrays |= {f"{name}.{part}": array for part, array in found.items()}
    header = {"tool": "tinygrad", "version": importlib.metadata.version("tinygrad"), "licence": "MIT",
              "document": "AMD CDNA instruction set architecture, pseudocode by mnemonic",
              "recorded": datetime.datetime.now(datetime.timezone.utc).date().isoformat(), "seed": SEED,
              "texts": texts, "left out": left}  # fmt: skip
    np.savez_compressed(file, header=np.array(json.dumps(header)), registers=held, **arrays)
    typer.echo(f"{len(texts)} instructions, {file.stat().st_size} bytes")
    for name, reason in left.items():
        typer.echo(f"left out: {name}: {reason}")


if __name__ == "__main__":
    typer.run(main)
