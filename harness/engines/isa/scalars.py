"""What the scalar unit's instructions compute: functions of the sources, and of these the condition code."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from rocassay.harness.engines.isa.sources import Array

Function: TypeAlias = Callable[..., Any]

_31, _63 = np.uint32(31), np.uint64(63)


def signed(x: Array) -> Array:
    """As int32."""
    return x.view(np.int32)


def unsigned(x: Array) -> Array:
    """As uint32."""
    return x.view(np.uint32)


def overflow_add(a: Array, b: Array) -> Array:
    """Whether a sum of signed words leaves them."""
    total = a + b
    return signed((a ^ total) & (b ^ total)) < 0


def _overflow_sub(a: Array, b: Array) -> Array:
    return signed((a ^ b) & (a ^ (a - b))) < 0


def _field(a: Array, b: Array) -> Array:
    offset, width = b & _31, (b >> np.uint32(16)) & np.uint32(0x7F)
    keep = np.where(width >= 32, np.uint32(0xFFFFFFFF), (np.uint32(1) << (width & _31)) - np.uint32(1))
    return ((a >> offset) & keep).astype(np.uint32)


def _signed_field(a: Array, b: Array) -> Array:
    """S_BFE_I32: a field that reaches beyond bit 31 has the number's sign."""
    width = np.minimum((b >> np.uint32(16)) & np.uint32(0x7F), np.uint32(32))
    moved: Array = unsigned(signed(a) >> signed(b & _31))
    keep = np.where(width >= 32, np.uint32(0xFFFFFFFF), (np.uint32(1) << (width & _31)) - np.uint32(1))
    sign = np.where(width > 0, np.uint32(1) << ((width - np.uint32(1)) & _31), np.uint32(0)).astype(np.uint32)
    return ((moved & keep) ^ sign) - sign


def _reversed_bits(x: Array) -> Array:
    for shift, keep in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF), (16, 0x0000FFFF)):
        x = ((x >> np.uint32(shift)) & np.uint32(keep)) | ((x & np.uint32(keep)) << np.uint32(shift))
    return x


def _multiply_high(a: Array, b: Array) -> Array:
    return ((a.astype(np.uint64) * b.astype(np.uint64)) >> np.uint64(32)).astype(np.uint32)


def _multiply_high_signed(a: Array, b: Array) -> Array:
    return ((signed(a).astype(np.int64) * signed(b).astype(np.int64)) >> np.int64(32)).astype(np.uint32)


# Result, and the condition code: a function of the sources and the result, or None where it stays.
_KEEP = None


def _of_result(*arrays: Array) -> Array:
    return arrays[-1] != 0


WORD: dict[str, tuple[Function, Function | None]] = {
    "s_mov_b32": (lambda a: a, _KEEP),
    "s_not_b32": (lambda a: ~a, _of_result),
    "s_brev_b32": (_reversed_bits, _KEEP),
    "s_abs_i32": (lambda a: unsigned(np.abs(signed(a))), _of_result),
    "s_sext_i32_i8": (lambda a: unsigned((signed(a) << np.int32(24)) >> np.int32(24)), _KEEP),
    "s_sext_i32_i16": (lambda a: unsigned((signed(a) << np.int32(16)) >> np.int32(16)), _KEEP),
    "s_add_i32": (lambda a, b: a + b, lambda a, b, _: overflow_add(a, b)),
    "s_sub_i32": (lambda a, b: a - b, lambda a, b, _: _overflow_sub(a, b)),
    "s_add_u32": (lambda a, b: a + b, lambda a, _b, r: r < a),
    "s_sub_u32": (lambda a, b: a - b, lambda a, b, _: b > a),
    "s_mul_i32": (lambda a, b: a * b, _KEEP),
    "s_mul_hi_u32": (_multiply_high, _KEEP),
    "s_mul_hi_i32": (_multiply_high_signed, _KEEP),
    "s_and_b32": (lambda a, b: a & b, _of_result),
    "s_or_b32": (lambda a, b: a | b, _of_result),
    "s_xor_b32": (lambda a, b: a ^ b, _of_result),
    "s_andn2_b32": (lambda a, b: a & ~b, _of_result),
    "s_orn2_b32": (lambda a, b: a | ~b, _of_result),
    "s_lshl_b32": (lambda a, b: a << (b & _31), _of_result),
    "s_lshr_b32": (lambda a, b: a >> (b & _31), _of_result),
    "s_ashr_i32": (lambda a, b: unsigned(signed(a) >> (b & _31).astype(np.int32)), _of_result),
    "s_bfe_u32": (_field, _of_result),
    "s_bfe_i32": (_signed_field, _of_result),
    "s_bfm_b32": (lambda a, b: ((np.uint32(1) << (a & _31)) - np.uint32(1)) << (b & _31), _KEEP),
    "s_min_i32": (lambda a, b: unsigned(np.minimum(signed(a), signed(b))), lambda a, b, _: signed(a) < signed(b)),
    "s_max_i32": (lambda a, b: unsigned(np.maximum(signed(a), signed(b))), lambda a, b, _: signed(a) >= signed(b)),
    "s_min_u32": (np.minimum, lambda a, b, _: a < b),
    "s_max_u32": (np.maximum, lambda a, b, _: a >= b),
    **{
        f"s_lshl{n}_add_u32": (
            lambda a, b, n=n: (a << np.uint32(n)) + b,
            lambda a, b, _, n=n: (a.astype(np.uint64) << np.uint64(n)) + b > 0xFFFFFFFF,
        )
        for n in (1, 2, 3, 4)
    },
    "s_pack_ll_b32_b16": (lambda a, b: (a & np.uint32(0xFFFF)) | (b << np.uint32(16)), _KEEP),
}

PAIR: dict[str, tuple[Function, bool]] = {
    "s_mov_b64": (lambda a: a, False),
    "s_not_b64": (lambda a: ~a, True),
    "s_and_b64": (lambda a, b: a & b, True),
    "s_or_b64": (lambda a, b: a | b, True),
    "s_xor_b64": (lambda a, b: a ^ b, True),
    "s_andn2_b64": (lambda a, b: a & ~b, True),
    "s_orn2_b64": (lambda a, b: a | ~b, True),
    "s_nand_b64": (lambda a, b: ~(a & b), True),
    "s_nor_b64": (lambda a, b: ~(a | b), True),
    "s_xnor_b64": (lambda a, b: ~(a ^ b), True),
}
"""On both dwords of pairs; whether the condition code says that the result is not zero."""


def _wide_width(b: Array) -> Array:
    return np.minimum(b >> np.uint32(16) & np.uint32(127), np.uint32(64)).astype(np.uint64)


def _wide_field(a: Array, b: Array) -> Array:
    """Bits of 64, from S1[5:0] on and S1[22:16] of them."""
    width, first = _wide_width(b), b.astype(np.uint64) & _63
    mask = np.where(width > _63, ~np.uint64(0), (np.uint64(1) << (width & _63)) - np.uint64(1))
    return (a >> first) & mask


def _wide_signed_field(a: Array, b: Array) -> Array:
    """The same with the sign of 64 bits behind the value, and that of the field before it."""
    width, first = _wide_width(b), (b.astype(np.uint64) & _63).astype(np.int64)
    up = np.minimum(np.uint64(64) - width, _63).astype(np.int64)
    shifted = ((a.view(np.int64) >> first) << up) >> up
    return np.where(width == 0, np.uint64(0), shifted.view(np.uint64))


SHIFT_PAIR: dict[str, Function] = {
    "s_bfe_u64": _wide_field,
    "s_bfe_i64": _wide_signed_field,
    "s_lshl_b64": lambda a, b: a << (b.astype(np.uint64) & _63),
    "s_lshr_b64": lambda a, b: a >> (b.astype(np.uint64) & _63),
    "s_ashr_i64": lambda a, b: (a.view(np.int64) >> (b.astype(np.uint64) & _63).astype(np.int64)).view(np.uint64),
}

RELATION: dict[str, Function] = {
    "eq": np.equal, "lg": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip

SAVE: dict[str, Function] = {
    "s_and_saveexec_b64": lambda source, old: source & old,
    "s_or_saveexec_b64": lambda source, old: source | old,
    "s_andn2_saveexec_b64": lambda source, old: source & ~old,
    "s_xor_saveexec_b64": lambda source, old: source ^ old,
}
