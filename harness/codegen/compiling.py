"""Cross-compilation of kernel launches, and what a code object's metadata say."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportMissingTypeStubs=false

from __future__ import annotations

import contextlib
import hashlib
import importlib
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
    """Vector registers spilled, to memory or to accumulation registers; 0 for PTX, which assigns registers later."""

    scalar_spills: int
    """Scalar registers spilled to lanes of vector registers; 0 for PTX."""

    scratch_bytes: int
    """Private memory of one lane in bytes, spills included; 0 for PTX."""

    vgprs: int
    """Vector registers of one wave, accumulation registers included; 0 for PTX."""

    sgprs: int
    """Scalar registers of one wave; 0 for PTX."""

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

    Tensors may live anywhere, their alignment and extent count as they do in a launch. Raises UnknownArch for a
    target that is neither a gfx profile nor one of `CUDA_ARCHES`, and whatever Triton raises for a kernel that does
    not compile.
    """
    target = target_of(arch)
    options = options_of(launch, target)
    compiled: Any = triton.compile(source_of(launch, target, options), target=target, options=options)
    text: str = compiled.asm["amdgcn" if target.backend == "hip" else "ptx"]
    binary: bytes = compiled.asm["hsaco" if target.backend == "hip" else "cubin"]
    return CodeObject(
        kernel=launch.name,
        arch=arch,
        asm=text,
        lds_bytes=int(compiled.metadata.shared),
        spills=_metadata(text, "vgpr_spill_count"),
        scalar_spills=_metadata(text, "sgpr_spill_count"),
        scratch_bytes=_metadata(text, "private_segment_fixed_size"),
        vgprs=_metadata(text, "vgpr_count"),
        sgprs=_metadata(text, "sgpr_count"),
        ir=compiled.asm["ttir" if "ttir" in compiled.asm else "ttgir"],
        digest=hashlib.sha256(binary).hexdigest(),
    )


def prepare() -> None:
    """What every process would do again: Triton's digest of its own files, and the import of Gluon where there is one.

    Nothing is compiled.
    """
    for module in (triton.compiler.compiler, triton.runtime.cache):
        digest: Callable[[], str] | None = getattr(module, "triton_key", None)
        if digest is not None:
            digest()
    with contextlib.suppress(ImportError):
        importlib.import_module("triton.experimental.gluon")


def options_of(launch: Launch, target: GPUTarget) -> dict[str, Any]:
    """The compiler's options: floating-point fusion is on unless the launch says otherwise."""
    options = {"enable_fp_fusion": True, **launch.options}
    if target.backend == "cuda":
        return {name: value for name, value in options.items() if name not in _AMD_ONLY}
    return options


def target_of(arch: str) -> GPUTarget:
    """What Triton compiles for; UnknownArch for a name that is no gfx profile and not in `CUDA_ARCHES`."""
    if arch in CUDA_ARCHES:
        return GPUTarget("cuda", int(arch.removeprefix("sm")), 32)
    if arch not in PROFILES:
        raise UnknownArch(arch, (*PROFILES, *CUDA_ARCHES))
    return GPUTarget("hip", arch, profile(arch).wave_size)


def source_of(launch: Launch, target: GPUTarget, options: dict[str, Any]) -> ASTSource:
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
