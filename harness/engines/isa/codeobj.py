"""Code objects: what Triton compiles a launch to, its arguments in memory, its registers as the hardware sets them."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

import functools
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
import triton

from rocassay.harness.codegen import options_of, source_of, target_of
from rocassay.harness.engines.isa import asm
from rocassay.harness.engines.isa.asm import EXEC, Program, Unsupported
from rocassay.harness.engines.isa.localmem import Lds
from rocassay.harness.engines.isa.memory import Memory
from rocassay.harness.engines.isa.private import Private
from rocassay.harness.engines.isa.program import Code
from rocassay.harness.engines.isa.state import LANES, SCALARS, U32, Ints, State
from rocassay.harness.engines.isa.vmem import Reach
from rocassay.harness.engines.launch import Grid, Launch
from rocassay.harness.errors import RocassayError

ARCHES = ("gfx942", "gfx950")
"""Chips whose instructions the engine knows."""

Entry: TypeAlias = Literal["preload", "compatible"]
"""Where a kernel starts: behind the prologue, with arguments preloaded into scalar registers as current firmware does,
or at the prologue, which loads them itself (LLVM AMDGPU usage, "Preloaded kernel arguments")."""


class CannotCompile(RocassayError, RuntimeError):
    """This Triton cannot compile a launch for the chip; the engine has nothing to run."""


@dataclass(frozen=True, slots=True)
class CompiledLaunch:
    """A launch's machine code and what is needed to start it.

    Attributes:
        code: the instructions, ready to run.
        text: the assembly that they were read from.
        types: Triton's type of every argument that is passed, in order; "*fp32" is a pointer.
        slots: (offset, size, kind) of every argument in memory, the hidden ones behind the kernel's own.
        lds_bytes: local memory of a workgroup.
        num_warps: waves of a workgroup.
        arch: the chip.
    """

    code: Code
    text: str
    types: Mapping[str, str]
    slots: tuple[tuple[int, int, str], ...]
    lds_bytes: int
    num_warps: int
    arch: str

    @property
    def program(self) -> Program:
        """The instructions as they were read."""
        return self.code.program


def compiled(launch: Launch, arch: str) -> CompiledLaunch:
    """The machine code that the launch would run, argument specialisation included.

    Raises Unsupported for a chip or an instruction that the engine does not know, CannotCompile where the compiler's
    passes give up, and whatever else Triton raises for a kernel that is wrong.
    """
    if arch not in ARCHES:
        raise Unsupported(f"the machine-code engine knows {' and '.join(ARCHES)}, not {arch!r}")
    target = target_of(arch)
    options = options_of(launch, target)
    source: Any = source_of(launch, target, options)
    code = _built(launch, arch, source, {"target": target, "options": options})
    names = launch.kernel.arg_names
    kinds = {name: source.signature[name if name in source.signature else place] for place, name in enumerate(names)}
    text, kernel = str(code.asm["amdgcn"]), str(code.metadata.name)
    runnable, slots = _parsed(text, kernel, arch)
    return CompiledLaunch(
        runnable,
        text,
        {name: kind for name, kind in kinds.items() if kind != "constexpr"},
        slots,
        int(code.metadata.shared),
        int(code.metadata.num_warps),
        arch,
    )


def _built(launch: Launch, arch: str, source: Any, how: Mapping[str, Any]) -> Any:
    """What the compiler builds. MLIR's passes raise a RuntimeError that names neither kernel nor cause."""
    try:
        return triton.compile(source, **how)
    except RuntimeError as error:
        raise CannotCompile(
            f"Triton {triton.__version__} cannot compile {launch.name} for {arch}: {error}; the compiler's own words "
            "stand on stderr; run the case with another Triton, or on the interpreter"
        ) from error


@functools.lru_cache(maxsize=128)
def _parsed(text: str, kernel: str, arch: str) -> tuple[Code, tuple[tuple[int, int, str], ...]]:
    return runnable(asm.parse(text, kernel), arch), argument_slots(text)


def runnable(program: Program, arch: str) -> Code:
    """A program bound to memories of its own. Raises Unsupported for what the engine cannot honour."""
    _check(program)
    scratch = program.descriptor.get("private_segment_fixed_size", 0)
    return Code(program, arch, Reach(Memory(), Lds(16, 1, 0), Private(scratch)))


_ONLY: dict[str, int] = {
    "float_round_mode_32": 0,
    "float_round_mode_16_64": 0,
    "float_denorm_mode_32": 3,
    "float_denorm_mode_16_64": 3,
    "fp16_overflow": 0,
    "uses_dynamic_stack": 0,
    "tg_split": 0,
}
"""Entries of the kernel descriptor that the engine can honour with one value only (round to nearest even, no flush)."""


def _check(program: Program) -> None:
    for name, value in _ONLY.items():
        if program.descriptor.get(name, value) != value:
            raise Unsupported(f"{program.name} asks for {name} {program.descriptor[name]}; only {value} is known")


_FIELD = re.compile(r"\.(\w+):\s+(\S+)")


def argument_slots(text: str) -> tuple[tuple[int, int, str], ...]:
    """(offset, size, kind) of every kernel argument, from the code object's metadata."""
    start = text.index(".args:")
    part = text[start : text.index(".group_segment_fixed_size", start)]
    fields = (dict(_FIELD.findall(item)) for item in part.split("- ")[1:])
    return tuple((int(f["offset"]), int(f["size"]), f["value_kind"]) for f in fields)


def hidden_arguments(grid: Grid, num_warps: int) -> dict[str, int]:
    """What the runtime passes behind the kernel's own arguments (LLVM AMDGPU usage, code object V5)."""
    return {
        **{f"hidden_block_count_{axis}": count for axis, count in zip("xyz", grid, strict=True)},
        "hidden_group_size_x": num_warps * LANES,
        "hidden_group_size_y": 1,
        "hidden_group_size_z": 1,
        "hidden_grid_dims": 1,
    }


def argument_bytes(code: CompiledLaunch, launch: Launch, addresses: Mapping[str, int]) -> bytes:
    """The argument buffer: addresses of tensors, numbers in their types, null for what Triton adds itself."""
    hidden = hidden_arguments(launch.grid, code.num_warps)
    buffer = bytearray(max((offset + size for offset, size, _ in code.slots), default=0))
    names = list(code.types)
    for number, (offset, size, what) in enumerate(code.slots):
        if what in hidden:
            buffer[offset : offset + size] = hidden[what].to_bytes(size, "little")
        elif number < len(names):
            data = _packed(launch.args[names[number]], code.types[names[number]], size, addresses.get(names[number], 0))
            buffer[offset : offset + len(data)] = data
    return bytes(buffer)


def _packed(value: Any, kind: str, size: int, address: int) -> bytes:
    if isinstance(value, torch.Tensor) or kind.startswith("*"):
        return struct.pack("<Q", address)
    if kind in ("fp32", "f32"):
        return struct.pack("<f", float(value))
    if kind in ("fp64", "f64"):
        return struct.pack("<d", float(value))
    if kind == "i1":
        return struct.pack("<?", bool(value))
    if kind[0] in "iu":
        return (int(value) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    raise Unsupported(f"an argument of type {kind} is not known")


@dataclass(frozen=True, slots=True)
class Start:
    """Workgroups that begin together, in one or two worlds that differ in what nobody has set.

    Attributes:
        first, count: workgroups of the launch.
        kernarg: address of the argument buffer.
        arguments: its bytes.
        junk: what registers hold at the start, by world.
        entry: where the kernel starts.
    """

    first: int
    count: int
    kernarg: int
    arguments: bytes
    junk: tuple[int, ...]
    entry: Entry


def initial_state(code: CompiledLaunch, grid: Grid, start: Start) -> State:
    """Registers as the hardware sets them (LLVM AMDGPU usage, "Initial kernel execution state")."""
    worlds = len(start.junk)
    waves = start.count * code.num_warps * worlds
    world = np.arange(worlds).repeat(start.count * code.num_warps)
    local = np.arange(start.count * worlds).repeat(code.num_warps)
    wave = np.arange(waves) % code.num_warps
    junk = np.array(start.junk, np.uint32)[world]
    descriptor = code.program.descriptor
    held = min(descriptor.get("next_free_vgpr", 1), 256) + 8
    accumulators = max(descriptor.get("next_free_vgpr", 0) - descriptor.get("accum_offset", 0), 0) + 8
    vectors = np.broadcast_to(junk[:, None], (held, waves, LANES)).copy()
    vectors[0] = wave[:, None].astype(np.uint32) * np.uint32(LANES) + np.arange(LANES, dtype=np.uint32)
    group, number = worlds * start.first + local, start.first + local % start.count
    return State(
        pc=code.program.preload_entry if start.entry == "preload" else 0,
        waves=group * code.num_warps + wave,
        group=group,
        world=world,
        v=vectors,
        a=np.broadcast_to(junk[:, None], (accumulators, waves, LANES)).copy(),
        s=_scalars(code.program, grid, start, number, junk),
        scc=np.zeros(waves, np.bool_),
        mask=np.ones((waves, LANES), np.bool_),
    )


def _scalars(program: Program, grid: Grid, start: Start, number: Ints, junk: U32) -> U32:
    """uint32 [128, waves]: user registers in the order of the descriptor, then the workgroup's place in the grid."""
    d = program.descriptor
    given: list[Any] = []
    for name in ("dispatch_ptr", "queue_ptr"):
        if d.get(f"user_sgpr_{name}"):
            given += [0, 0]
    if d.get("user_sgpr_kernarg_segment_ptr"):
        given += [start.kernarg & 0xFFFFFFFF, start.kernarg >> 32]
    if d.get("user_sgpr_dispatch_id"):
        given += [0, 0]
    if d.get("user_sgpr_private_segment_size"):
        given += [d.get("private_segment_fixed_size", 0)]
    length, skip = d.get("user_sgpr_kernarg_preload_length", 0), 4 * d.get("user_sgpr_kernarg_preload_offset", 0)
    if length and start.entry == "preload":
        padded = start.arguments + bytes(4 * length)
        given += list(np.frombuffer(padded[skip : skip + 4 * length], np.uint32))
    else:
        given += [junk] * length
    x, rest = number % grid[0], number // grid[0]
    for axis, place in (("x", x), ("y", rest % grid[1]), ("z", rest // grid[1])):
        if d.get(f"system_sgpr_workgroup_id_{axis}"):
            given.append(place)
    scalars = np.broadcast_to(junk, (SCALARS, len(number))).copy()
    for register, value in enumerate(given):
        scalars[register] = value
    scalars[EXEC : EXEC + 2] = 0xFFFFFFFF
    return scalars
