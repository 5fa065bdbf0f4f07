"""What each gfx architecture is: one frozen profile per target, and the target of an execution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from rocassay.harness.errors import RocassayError

Backend: TypeAlias = Literal["hip", "cuda", "interpreter"]
"""What executes a kernel: ROCm (or its machine code), CUDA, or an interpreter of the Triton source."""


class UnknownArch(RocassayError, ValueError):
    """A gfx name that has no profile, or no row in the dispatch tables."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"architecture {name!r} is unknown; use one of {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class ArchProfile:
    """Facts about one gfx target that dispatch, kernels and code-object checks decide by."""

    name: str
    """LLVM target name without feature suffixes, such as ``gfx942``."""

    product: str
    """The product that the published numbers below belong to."""

    cdna: int | None
    """CDNA generation; None for a target outside the CDNA line."""

    capability: tuple[int, int]
    """Device capability (major, minor) as the ROCm platform layer reports it."""

    wave_size: int
    """Lanes of one wave in the mode that Triton compiles for."""

    lds_bytes: int
    """Largest LDS allocation of one workgroup, in bytes."""

    compute_units: int | None
    """Compute units of one device (for MI250X: of one of its two dies); None when unpublished."""

    vgprs: int
    """Vector registers that one wave can own, accumulation registers included."""

    agprs: bool
    """Half of the vector registers are accumulation registers, which matrix instructions address."""

    fp8: str
    """The platform's FP8 format: what a kernel takes when nobody says otherwise."""

    native_fp8: frozenset[str]
    """FP8 formats that the matrix instructions multiply themselves; every other is upcast first."""

    fp8_matrix_instruction: str | None
    """Regular expression of the mnemonic of a native FP8 dot; None when there is no such instruction."""

    f16_matrix_instruction: str
    """Regular expression of the mnemonic of an fp16 dot: what a dot of a foreign FP8 format becomes."""

    mx: bool
    """OCP microscaling (MX) data types are supported."""

    aiter_supported: bool
    """AITER counts as supported here: CDNA generation above 2."""

    mi3xx: bool
    """Member of the MI300/MI350 family, for which the single-kernel paths are written."""

    gfx9: bool
    """Member of the gfx9 Instinct family."""

    async_lds_copy: bool
    """Can copy 16 bytes a lane from global memory to LDS without passing through registers."""

    lds_transpose_read: bool
    """Has transposing LDS reads, which feed a matrix operand stored in the other order."""

    @property
    def fnuz(self) -> bool:
        """Whether the platform's FP8 format is the FNUZ one (``is_fp8_fnuz()`` of vLLM platforms/rocm.py)."""
        return self.fp8.endswith("fnuz")


SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "name": "LLVM AMDGPU usage guide, table of processors",
        "product": "ROCm documentation, AMD GPU specifications",
        "cdna": "vLLM platforms/rocm.py (gfx1250 counts as generation 5 there)",
        "capability": "vLLM platforms/rocm.py, get_device_capability",
        "wave_size": "ROCm documentation, AMD GPU specifications; Triton AMD backend (32 from gfx10 on)",
        "lds_bytes": "ROCm documentation, AMD GPU specifications; LLVM AMDGPU lds-size-hsa-gfx1250 test",
        "compute_units": "ROCm documentation, AMD GPU specifications; none published for gfx1250",
        "vgprs": "AMD CDNA2/CDNA3/CDNA4 ISA guides, unified register file; LLVM AMDGPU.td for gfx1250",
        "agprs": "AMD CDNA2/CDNA3/CDNA4 ISA guides; LLVM AMDGPU.td for gfx1250",
        "fp8": "vLLM platforms/rocm.py, is_fp8_fnuz and fp8_dtype",
        "native_fp8": "AMD CDNA3/CDNA4 ISA guides, FP8 matrix instructions; Triton AMD backend",
        "fp8_matrix_instruction": "AMD CDNA3/CDNA4 ISA guides; LLVM AMDGPU assembler for gfx1250",
        "f16_matrix_instruction": "AMD CDNA2/CDNA3/CDNA4 ISA guides; LLVM AMDGPU assembler for gfx1250",
        "mx": "vLLM platforms/rocm.py, supports_mx",
        "aiter_supported": "vLLM _aiter_ops.py, is_aiter_found_and_supported",
        "mi3xx": "vLLM platforms/rocm.py, on_mi3xx",
        "gfx9": "vLLM platforms/rocm.py, on_gfx9",
        "async_lds_copy": "AMD CDNA4 ISA guide, global_load_lds_dwordx4; LLVM AMDGPU for gfx1250",
        "lds_transpose_read": "AMD CDNA4 ISA guide, ds_read_b64_tr_b16; LLVM AMDGPU for gfx1250",
    }
)
"""Where each field of `ArchProfile` comes from."""

_KIB = 1024
_E4M3FN = frozenset({"e4m3fn", "e5m2"})
_E4M3FNUZ = frozenset({"e4m3fnuz", "e5m2fnuz"})

_GFX90A = ArchProfile(
    name="gfx90a",
    product="Instinct MI250X",
    cdna=2,
    capability=(9, 0),
    wave_size=64,
    lds_bytes=64 * _KIB,
    compute_units=110,
    vgprs=512,
    agprs=True,
    fp8="e4m3fn",
    native_fp8=frozenset(),
    fp8_matrix_instruction=None,
    f16_matrix_instruction=r"v_mfma_f32_\d+x\d+x\d+_?f16\b",
    mx=False,
    aiter_supported=False,
    mi3xx=False,
    gfx9=True,
    async_lds_copy=False,
    lds_transpose_read=False,
)

_GFX942 = ArchProfile(
    name="gfx942",
    product="Instinct MI300X",
    cdna=3,
    capability=(9, 4),
    wave_size=64,
    lds_bytes=64 * _KIB,
    compute_units=304,
    vgprs=512,
    agprs=True,
    fp8="e4m3fnuz",
    native_fp8=_E4M3FNUZ,
    fp8_matrix_instruction=r"v_mfma_f32_\d+x\d+x\d+_(fp8|bf8)_(fp8|bf8)\b",
    f16_matrix_instruction=r"v_mfma_f32_\d+x\d+x\d+_?f16\b",
    mx=False,
    aiter_supported=True,
    mi3xx=True,
    gfx9=True,
    async_lds_copy=False,
    lds_transpose_read=False,
)

_GFX950 = ArchProfile(
    name="gfx950",
    product="Instinct MI355X",
    cdna=4,
    capability=(9, 5),
    wave_size=64,
    lds_bytes=160 * _KIB,
    compute_units=256,
    vgprs=512,
    agprs=True,
    fp8="e4m3fn",
    native_fp8=_E4M3FN,
    # The CDNA3 mnemonics exist here too and read their operands as OCP; short K tiles use them.
    fp8_matrix_instruction=r"v_mfma_(scale_)?f32_\d+x\d+x\d+_(f8f6f4|(fp8|bf8)_(fp8|bf8))\b",
    f16_matrix_instruction=r"v_mfma_f32_\d+x\d+x\d+_?f16\b",
    mx=True,
    aiter_supported=True,
    mi3xx=True,
    gfx9=True,
    async_lds_copy=True,
    lds_transpose_read=True,
)

_GFX1250 = ArchProfile(
    name="gfx1250",
    product="Instinct MI455X",
    cdna=5,
    capability=(12, 5),
    wave_size=32,
    lds_bytes=320 * _KIB,
    compute_units=None,
    vgprs=1024,
    agprs=False,
    fp8="e4m3fn",
    native_fp8=_E4M3FN,
    fp8_matrix_instruction=r"v_wmma_(scale(16)?_)?f32_\d+x\d+x\d+_(f8f6f4|(fp8|bf8)_(fp8|bf8))\b",
    f16_matrix_instruction=r"v_wmma_f32_\d+x\d+x\d+_f16\b",
    mx=True,
    aiter_supported=True,
    mi3xx=False,
    gfx9=False,
    async_lds_copy=True,
    lds_transpose_read=True,
)

PROFILES: Mapping[str, ArchProfile] = MappingProxyType(
    {profile.name: profile for profile in (_GFX90A, _GFX942, _GFX950, _GFX1250)}
)
"""Every architecture with a profile, by name."""

DISPATCH_ARCHES: tuple[str, ...] = (*PROFILES, "gfx1201")
"""Architectures with a row in the dispatch tables; gfx1201 (RDNA4) has a row but no profile."""


def profile(name: str) -> ArchProfile:
    """Profile of an architecture; raises `UnknownArch`."""
    if name not in PROFILES:
        raise UnknownArch(name, tuple(PROFILES))
    return PROFILES[name]


def is_rdna4(name: str) -> bool:
    """Whether the dispatch tables treat this as RDNA4 (vLLM platforms/rocm.py: gfx1200 and gfx1201)."""
    return name in {"gfx1200", "gfx1201"}


def cdna_of(name: str) -> int | None:
    """CDNA generation of a dispatch architecture, None outside CDNA; raises `UnknownArch`."""
    _require_dispatch_arch(name)
    return None if is_rdna4(name) else profile(name).cdna


def fp8_format_of(name: str) -> str:
    """Platform FP8 format of a dispatch architecture (vLLM platforms/rocm.py); raises `UnknownArch`."""
    _require_dispatch_arch(name)
    return "e4m3fn" if is_rdna4(name) else profile(name).fp8


def _require_dispatch_arch(name: str) -> None:
    if name not in DISPATCH_ARCHES:
        raise UnknownArch(name, DISPATCH_ARCHES)


@dataclass(frozen=True, slots=True)
class Target:
    """Whose decisions a launch takes, and what really executes it; raises `UnknownArch`."""

    arch: str
    """Architecture whose dispatch decisions are taken: a member of `DISPATCH_ARCHES`."""

    backend: Backend
    """What executes the kernel."""

    native_fp8: frozenset[str]
    """FP8 formats that the executing thing converts and multiplies itself."""

    def __post_init__(self) -> None:
        _require_dispatch_arch(self.arch)
