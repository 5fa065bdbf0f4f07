"""The four FP8 formats, ue8m0 scales and bfloat16, as exact tables and bit arithmetic.

Every conversion is defined here once, because each tool differs: torch saturates or gives NaN by format
and version, Triton's interpreter loses carries, and hardware follows a mode bit.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.errors import RocassayError

if TYPE_CHECKING:
    import torch

Overflow: TypeAlias = Literal["nan", "saturate"]
"""What encoding does beyond the largest finite value: NaN (inf where the format has one), or the largest."""

FloatArray: TypeAlias = NDArray[np.float32] | NDArray[np.float64]

_SIGN = 0x80
_UE8M0_BIAS = 127
_UE8M0_NAN = 255


class UnknownFormat(RocassayError, ValueError):
    """A name that is none of the FP8 formats."""

    def __init__(self, name: str) -> None:
        super().__init__(f"FP8 format {name!r} is unknown; use one of {', '.join(FORMATS)}")


class ScaleError(RocassayError, ValueError):
    """A negative number where a scale was expected: powers of two represent none."""

    def __init__(self, value: float) -> None:
        super().__init__(f"scale {value!r} is negative; pass magnitudes")


@dataclass(frozen=True, slots=True)
class Fp8Format:
    """One FP8 format: sign, exponent and mantissa fields of a byte and its special codes."""

    name: str
    """Name used throughout: ``e4m3fn``, ``e4m3fnuz``, ``e5m2`` or ``e5m2fnuz``."""

    exponent_bits: int
    """Bits of the exponent field."""

    mantissa_bits: int
    """Bits of the mantissa field."""

    bias: int
    """Exponent bias."""

    nan_codes: tuple[int, ...]
    """All bytes that are NaN."""

    inf_codes: tuple[int, ...]
    """All bytes that are infinite, positive first; empty for the formats without infinity."""

    has_negative_zero: bool
    """Whether 0x80 is −0; in the FNUZ formats it is NaN."""

    max_finite: float
    """Largest finite value."""

    scaling_max: float
    """Value that the largest magnitude of a block is scaled to.

    The OCP formats use their largest finite value. The FNUZ formats use half of the OCP one (224, not 240),
    as vLLM's get_fp8_min_max does: a FNUZ value is half the OCP value of the same byte, so writers of both
    flavours then store the same bytes, with scales that differ by exactly two.
    """

    smallest_subnormal: float
    """Smallest positive value."""

    triton_name: str
    """Attribute of ``triton.language``."""

    torch_name: str
    """Attribute of ``torch``."""

    @property
    def values(self) -> NDArray[np.float64]:
        """Value of each of the 256 bytes, float64[256], read-only."""
        return _values(self)

    @property
    def nan_code(self) -> int:
        """The byte that NaN encodes to, and that poisons unwritten memory."""
        return self.nan_codes[0]

    @property
    def max_code(self) -> int:
        """The byte of the largest finite value."""
        return min((*self.nan_codes, *self.inf_codes)) - 1


_E4M3FN = Fp8Format(
    name="e4m3fn",
    exponent_bits=4,
    mantissa_bits=3,
    bias=7,
    nan_codes=(0x7F, 0xFF),
    inf_codes=(),
    has_negative_zero=True,
    max_finite=448.0,
    scaling_max=448.0,
    smallest_subnormal=2.0**-9,
    triton_name="float8e4nv",
    torch_name="float8_e4m3fn",
)

_E4M3FNUZ = Fp8Format(
    name="e4m3fnuz",
    exponent_bits=4,
    mantissa_bits=3,
    bias=8,
    nan_codes=(0x80,),
    inf_codes=(),
    has_negative_zero=False,
    max_finite=240.0,
    scaling_max=224.0,
    smallest_subnormal=2.0**-10,
    triton_name="float8e4b8",
    torch_name="float8_e4m3fnuz",
)

_E5M2 = Fp8Format(
    name="e5m2",
    exponent_bits=5,
    mantissa_bits=2,
    bias=15,
    nan_codes=(0x7F, 0x7D, 0x7E, 0xFD, 0xFE, 0xFF),
    inf_codes=(0x7C, 0xFC),
    has_negative_zero=True,
    max_finite=57344.0,
    scaling_max=57344.0,
    smallest_subnormal=2.0**-16,
    triton_name="float8e5",
    torch_name="float8_e5m2",
)

_E5M2FNUZ = Fp8Format(
    name="e5m2fnuz",
    exponent_bits=5,
    mantissa_bits=2,
    bias=16,
    nan_codes=(0x80,),
    inf_codes=(),
    has_negative_zero=False,
    max_finite=57344.0,
    scaling_max=57344.0 / 2,
    smallest_subnormal=2.0**-17,
    triton_name="float8e5b16",
    torch_name="float8_e5m2fnuz",
)

FORMATS: Mapping[str, Fp8Format] = MappingProxyType({fmt.name: fmt for fmt in (_E4M3FN, _E4M3FNUZ, _E5M2, _E5M2FNUZ)})
"""The FP8 formats by name (OCP OFP8 specification; the FNUZ pair: AMD CDNA3 ISA guide)."""


def format_of(name: str) -> Fp8Format:
    """Format by name; raises `UnknownFormat`."""
    if name not in FORMATS:
        raise UnknownFormat(name)
    return FORMATS[name]


@cache
def _values(fmt: Fp8Format) -> NDArray[np.float64]:
    code = np.arange(256)
    mantissa = code & ((1 << fmt.mantissa_bits) - 1)
    exponent = (code & (_SIGN - 1)) >> fmt.mantissa_bits
    # A zero exponent field has no hidden one and the exponent of field one.
    significand = mantissa + np.where(exponent > 0, 1 << fmt.mantissa_bits, 0)
    magnitude = np.ldexp(significand.astype(np.float64), np.maximum(exponent, 1) - fmt.bias - fmt.mantissa_bits)
    values = np.where(code & _SIGN, -magnitude, magnitude)
    values[list(fmt.nan_codes)] = np.nan
    for code_of_inf, value in zip(fmt.inf_codes, (np.inf, -np.inf), strict=False):
        values[code_of_inf] = value
    values.flags.writeable = False
    return values


def decode(codes: NDArray[np.uint8], fmt: Fp8Format) -> NDArray[np.float64]:
    """Exact value of each byte, float64 of the same shape; NaN and inf codes decode as such."""
    return fmt.values[codes]


def encode(x: FloatArray, fmt: Fp8Format, *, overflow: Overflow = "nan") -> NDArray[np.uint8]:
    """Nearest code of each value, ties to the even code, uint8 of the same shape.

    The rounding is a single one from the given float32 or float64 value. NaN gives ``fmt.nan_code``.
    What rounds beyond the largest finite value gives NaN (inf where the format has it) or, with
    ``overflow="saturate"``, the largest finite value, for infinities too. −0 and negative values that
    underflow give 0x80 only in a format that has −0.
    """
    if x.dtype == np.float64:
        bits, dropped = x.view(np.uint64), _DROPPED_BITS[8]
    else:
        bits, dropped = x.astype(np.float32, copy=False).view(np.uint32), _DROPPED_BITS[4]
    sticky = (bits & ((1 << dropped) - 1)) != 0
    key = ((bits >> dropped) << 1) | sticky
    return np.asarray(_encoding_table(fmt, overflow, bits.dtype.itemsize)[key])


# No format keeps more than three mantissa bits, so every rounding boundary has at most four. The code of a
# float therefore depends on its sign, exponent and four mantissa bits, and on whether anything lies below.
_DROPPED_BITS = {4: 23 - 4, 8: 52 - 4}


@cache
def _encoding_table(fmt: Fp8Format, overflow: Overflow, itemsize: int) -> NDArray[np.uint8]:
    """Code of every (leading bits, sticky) pair of a float32 or float64: uint8[2^14] or uint8[2^17]."""
    dropped = _DROPPED_BITS[itemsize]
    unsigned, floating = (np.uint64, np.float64) if itemsize == 8 else (np.uint32, np.float32)
    pairs = np.arange(1 << (8 * itemsize - dropped + 1), dtype=unsigned)
    # The sticky bit of a pair lands on the highest dropped bit: any value strictly inside will do.
    representative = (pairs << (dropped - 1)).view(floating)
    with np.errstate(invalid="ignore"):  # signalling NaNs widen to quiet ones
        return _nearest(representative.astype(np.float64), fmt, overflow)


def _nearest(x: NDArray[np.float64], fmt: Fp8Format, overflow: Overflow) -> NDArray[np.uint8]:
    """The definition of encoding: the number of rounding boundaries below each magnitude, then the sign."""
    code = np.searchsorted(_boundaries(fmt), np.abs(x), side="left")
    beyond = fmt.max_code if overflow == "saturate" else fmt.inf_codes[0] if fmt.inf_codes else fmt.nan_code
    code = np.where(code > fmt.max_code, beyond, code)
    negative = np.signbit(x) & (fmt.has_negative_zero | (code != 0))
    code = np.where(negative, code | _SIGN, code)
    is_nan = np.isnan(x) | np.isin(code, fmt.nan_codes)
    return np.where(is_nan, fmt.nan_code, code).astype(np.uint8)


def _boundaries(fmt: Fp8Format) -> NDArray[np.float64]:
    """Largest float64 that still rounds to code c rather than c + 1, for c from 0 to the largest finite."""
    finite = fmt.values[: fmt.max_code + 1]
    beyond = 2 * finite[-1] - finite[-2]
    midpoints = (finite + np.append(finite[1:], beyond)) / 2
    # A tie goes to the even code: past an odd code the midpoint itself belongs to the next one.
    odd = np.arange(len(finite)) % 2 == 1
    return np.where(odd, np.nextafter(midpoints, 0.0), midpoints)


def clamping_encode(x: FloatArray, fmt: Fp8Format) -> NDArray[np.uint8]:
    """Clamp to ±``fmt.scaling_max``, then encode, as the writers with an explicit clamp do; NaN stays NaN."""
    clamped: FloatArray = np.clip(x, -fmt.scaling_max, fmt.scaling_max)  # type: ignore[assignment]
    return encode(clamped, fmt)


def decode_tensor(codes: torch.Tensor, fmt: Fp8Format) -> torch.Tensor:
    """Value of each byte as float64, same shape and device.

    ``codes`` is uint8 or any FP8 dtype; its bytes are read as ``fmt`` whatever the dtype says.
    """
    import torch

    table = torch.tensor(fmt.values, device=codes.device)
    return table[codes.view(torch.uint8).to(torch.int32)]


def encode_tensor(x: torch.Tensor, fmt: Fp8Format, *, overflow: Overflow = "nan") -> torch.Tensor:
    """`encode` of a floating tensor of any dtype: uint8, same shape and device (computed on the CPU)."""
    import torch

    wide = x.detach().to("cpu", torch.float64 if x.dtype == torch.float64 else torch.float32)
    values: FloatArray = wide.numpy()
    return torch.from_numpy(encode(values, fmt, overflow=overflow)).to(x.device)


def ue8m0_decode(byte: NDArray[np.uint8]) -> NDArray[np.float64]:
    """2^(byte − 127) as float64; 255 is NaN (OCP MX specification).

    The decoders inside attention kernels shift the byte into an fp32 exponent or use exp2, so there 255
    is inf; and on a target that flushes denormals 0 is 0 rather than 2^−127.
    """
    exponent = np.asarray(byte).astype(np.int32) - _UE8M0_BIAS
    return np.where(np.asarray(byte) == _UE8M0_NAN, np.nan, np.ldexp(1.0, exponent))


def ue8m0_encode_up(x: FloatArray) -> NDArray[np.uint8]:
    """Byte of the smallest power of two not below x: ceil(log2 x) + 127, exact, clamped to [0, 254].

    0 gives 0, inf gives 254, NaN gives 255. Raises `ScaleError`.
    """
    exponent = _ceil_log2(x)
    byte = np.clip(exponent + _UE8M0_BIAS, 0, _UE8M0_NAN - 1)
    byte = np.where(x == 0, 0, np.where(np.isinf(x), _UE8M0_NAN - 1, byte))
    return np.where(np.isnan(x), _UE8M0_NAN, byte).astype(np.uint8)


def power_of_two_at_least(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """2^ceil(log2 x), exact: powers of two stay. 0, inf and NaN stay too; above 2^127 it is inf.

    Raises `ScaleError`.
    """
    with np.errstate(over="ignore"):
        rounded = np.ldexp(np.float32(1), _ceil_log2(x))
    return np.where((x > 0) & np.isfinite(x), rounded, x).astype(np.float32)


def _ceil_log2(x: FloatArray) -> NDArray[np.int32]:
    """ceil(log2 x) of positive finite values, without the rounding of a logarithm; arbitrary elsewhere."""
    if np.any(x < 0):
        raise ScaleError(float(np.min(x)))
    mantissa, exponent = np.frexp(x)
    return exponent - (mantissa == 0.5)


def bfloat16_bits(x: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Bits of the nearest bfloat16, ties to even, uint16; NaN becomes quiet and keeps its sign."""
    bits = x.view(np.uint32)
    with np.errstate(over="ignore"):  # only NaNs wrap around, and they take the other branch
        rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(x), quiet, rounded).astype(np.uint16)


def bfloat16_from_bits(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Value of each bfloat16 bit pattern as float32, exact."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def round_to_bfloat16(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Nearest bfloat16 value, ties to even, as float32; values that round past the largest become inf."""
    return bfloat16_from_bits(bfloat16_bits(x))


def torch_dtype(fmt: Fp8Format) -> torch.dtype:
    """The torch dtype of a format."""
    import torch

    dtype: Any = getattr(torch, fmt.torch_name)
    return dtype
