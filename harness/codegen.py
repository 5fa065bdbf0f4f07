"""Cross-compilation of kernel launches and what their code objects say, without a GPU."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportMissingTypeStubs=false

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import create_function_from_signature

from rocassay.harness.arch import PROFILES, UnknownArch, profile
from rocassay.harness.engines.launch import Launch, intercepted

CUDA_ARCHES = ("sm80", "sm89", "sm90")
"""NVIDIA targets that Triton's bundled assembler builds for."""

_AMD_ONLY = frozenset({"waves_per_eu", "matrix_instr_nonkdim", "kpack"})


@dataclass(frozen=True, slots=True)
class CodeObject:
    """One compiled launch."""

    kernel: str
    """The kernel's function name."""

    arch: str
    """Target: a gfx name or an NVIDIA one such as ``sm90``."""

    asm: str
    """The target's assembly text: amdgcn, or PTX."""

    lds_bytes: int
    """Shared memory of one program, in bytes."""

    spills: int
    """Vector registers spilled to memory; 0 for PTX, whose registers are assigned later."""

    scratch_bytes: int
    """Private memory of one lane in bytes, spills included; 0 for PTX."""

    vgprs: int
    """Vector registers of one wave, accumulation registers included; 0 for PTX."""

    ir: str
    """The kernel before anything of the target is decided: Triton's IR, or Gluon's with its layouts."""

    digest: str
    """SHA-256 of the binary, in hexadecimal: equal digests mean equal machine code."""

    def instructions(self, mnemonic: str) -> list[str]:
        """Mnemonics in the order of the text, whole, that the regular expression matches from their start."""
        found = re.finditer(rf"^\s+(?=(?:{mnemonic}))([\w.]+)", self.asm, flags=re.MULTILINE)
        return [match.group(match.lastindex or 0) for match in found]


def captured(launcher: Callable[[], Any]) -> list[Launch]:
    """The launches that calling `launcher` would make, none of which is executed."""
    launches: list[Launch] = []
    with intercepted(lambda launch, _: launches.append(launch)):
        launcher()
    return launches


def compile_launch(launch: Launch, arch: str) -> CodeObject:
    """Compile exactly what `launch` would run on `arch`, argument specialisation included.

    Tensors may live anywhere, their alignment and extent count as they do in a launch. Floating-point
    fusion is on unless the launch says otherwise. Raises UnknownArch for a target that is neither a gfx
    profile nor one of `CUDA_ARCHES`, and whatever Triton raises for a kernel that does not compile.
    """
    target = _target(arch)
    options = {"enable_fp_fusion": True, **launch.options}
    if target.backend == "cuda":
        options = {name: value for name, value in options.items() if name not in _AMD_ONLY}
    compiled: Any = triton.compile(_source(launch, target, options), target=target, options=options)
    text: str = compiled.asm["amdgcn" if target.backend == "hip" else "ptx"]
    binary: bytes = compiled.asm["hsaco" if target.backend == "hip" else "cubin"]
    return CodeObject(
        kernel=launch.name,
        arch=arch,
        asm=text,
        lds_bytes=int(compiled.metadata.shared),
        spills=_metadata(text, "vgpr_spill_count"),
        scratch_bytes=_metadata(text, "private_segment_fixed_size"),
        vgprs=_metadata(text, "vgpr_count"),
        ir=compiled.asm["ttir" if "ttir" in compiled.asm else "ttgir"],
        digest=hashlib.sha256(binary).hexdigest(),
    )


def _target(arch: str) -> GPUTarget:
    if arch in CUDA_ARCHES:
        return GPUTarget("cuda", int(arch.removeprefix("sm")), 32)
    if arch not in PROFILES:
        raise UnknownArch(arch, (*PROFILES, *CUDA_ARCHES))
    return GPUTarget("hip", arch, profile(arch).wave_size)


def _source(launch: Launch, target: GPUTarget, options: dict[str, Any]) -> ASTSource:
    """The source as `JITFunction.run` would build it from the launch's arguments."""
    kernel = launch.kernel
    backend = make_backend(target)
    bind = create_function_from_signature(kernel.signature, kernel.params, backend)
    bound, specialization, rest = bind(**launch.args, **options)
    _, signature, constexprs, attrs = kernel._pack_args(backend, dict(options), bound, specialization, rest)
    return _source_type(kernel)(kernel, signature, constexprs, attrs)


def _source_type(kernel: Any) -> Any:
    """Triton's or Gluon's kind of source; Gluon is imported only for kernels that are written in it."""
    if not kernel.is_gluon():
        return ASTSource
    from triton.experimental.gluon._runtime import GluonASTSource

    return GluonASTSource


def _metadata(text: str, name: str) -> int:
    """A number from the code object's metadata; 0 where the text has none."""
    found = re.search(rf"^\s+\.{name}:\s+(\d+)", text, flags=re.MULTILINE)
    return int(found.group(1)) if found else 0
