"""Small kernels for the interpreter's self-test; each exercises one family of operations."""
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeForm=false
# (a kernel's body is Triton's language: its literals are constexprs and its scalars have methods)

from __future__ import annotations

import triton
import triton.language as tl

OFFSET = tl.constexpr(3)
SHADOWED = 1


@triton.jit
def convert(src, dst, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(dst + i, tl.load(src + i).to(dst.dtype.element_ty))


@triton.jit
def matmul(a, b, c, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    m, n, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    x = tl.load(a + m[:, None] * K + k[None, :])
    y = tl.load(b + k[:, None] * N + n[None, :])
    tl.store(c + m[:, None] * N + n[None, :], tl.dot(x, y, out_dtype=c.dtype.element_ty))


@triton.jit
def divided(x, y, out, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i) // tl.load(y + i))


@triton.jit
def arithmetic(x, y, out, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    a, b = tl.load(x + i), tl.load(y + i)
    tl.store(out + i, a + b)
    tl.store(out + BLOCK + i, a - b)
    tl.store(out + 2 * BLOCK + i, a * b)
    tl.store(out + 3 * BLOCK + i, -a)
    tl.store(out + 4 * BLOCK + i, tl.abs(a))
    tl.store(out + 5 * BLOCK + i, tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL))
    tl.store(out + 6 * BLOCK + i, tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL))
    tl.store(out + 7 * BLOCK + i, tl.clamp(a, -1.0, 1.0, propagate_nan=tl.PropagateNan.ALL))
    tl.store(out + 8 * BLOCK + i, tl.where(a > b, a, b))
    tl.store(out + 9 * BLOCK + i, a * 0.3)


@triton.jit
def compare(x, y, out, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    a, b = tl.load(x + i), tl.load(y + i)
    tl.store(out + i, a < b)
    tl.store(out + BLOCK + i, a <= b)
    tl.store(out + 2 * BLOCK + i, a == b)
    tl.store(out + 3 * BLOCK + i, a != b)
    tl.store(out + 4 * BLOCK + i, a >= b)
    tl.store(out + 5 * BLOCK + i, a > b)


@triton.jit
def reduce_rows(x, total, largest, smallest, where, running, M: tl.constexpr, N: tl.constexpr):
    m, n = tl.arange(0, M), tl.arange(0, N)
    block = tl.load(x + m[:, None] * N + n[None, :])
    tl.store(total + m, tl.sum(block, 1))
    tl.store(largest + m, tl.max(block, axis=1))
    tl.store(smallest + m, block.min(1))
    tl.store(where + m, tl.argmax(block, 1))
    tl.store(running + m[:, None] * N + n[None, :], tl.cumsum(block, 1))


@triton.jit
def fused(x, y, z, out, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out + i, tl.fma(tl.load(x + i), tl.load(y + i), tl.load(z + i)))


@triton.jit
def add_same(x, out):
    tl.store(out, tl.load(x) + tl.load(x))


@triton.jit
def less_same(x, out):
    tl.store(out, tl.load(x) < tl.load(x))


@triton.jit
def sum_all(x, out):
    tl.store(out, tl.sum(tl.load(x + tl.arange(0, 16)), 0))


@triton.jit
def sum_beyond(x, out):
    tl.store(out, tl.sum(tl.load(x + tl.arange(0, 16)), 1))


@triton.jit
def scan_beyond(x, out):
    tl.store(out + tl.arange(0, 16), tl.cumsum(tl.load(x + tl.arange(0, 16)), -2))


@triton.jit
def atomic_into(x, out):
    tl.atomic_add(out, tl.load(x))


@triton.jit
def toward_zero(x, out):
    tl.store(out, tl.load(x).to(out.dtype.element_ty, fp_downcast_rounding="rtz"))


@triton.jit
def inline_assembly(x, out):
    value = tl.inline_asm_elementwise("", "=r,r", [tl.load(x)], dtype=tl.float32, is_pure=True, pack=1)
    tl.store(out, value)


@triton.jit
def halve(x, FACTOR: tl.constexpr = 2):
    return x // FACTOR


@triton.jit
def control_flow(out, n, flag: tl.constexpr):
    steps = tl.cdiv(n, 4)
    for i in range(steps):
        tl.store(out + i, i.to(tl.int64) + OFFSET)
    rest = n
    count = 0
    while rest > 1:
        rest = halve(rest)
        count += 1
    tl.store(out + 8, count)
    if n > 5 and flag:
        tl.store(out + 9, 1)
    elif not flag:
        tl.store(out + 9, 2)
    for j in tl.static_range(2):
        tl.store(out + 10 + j, halve(n, FACTOR=3) if j == 0 else max(n, 7))
    tl.store(out + 12, SHADOWED)


@triton.jit
def block_logic(x, out, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    a = tl.load(x + i)
    tl.store(out + i, (a > 2) and (a < 6))
    tl.store(out + BLOCK + i, (a < 2) or (a > 6))
    tl.store(out + 2 * BLOCK + i, not (a > 2))


@triton.jit
def block_condition(x):
    if tl.load(x + tl.arange(0, 2)) > 0:
        tl.store(x, 0.0)


@triton.jit
def wrap(out, n, m: tl.int64):
    tl.store(out, n * n)
    tl.store(out + 1, m * m)


@triton.jit
def float_argument(x, scale, out):
    tl.store(out, tl.load(x) * scale)


@triton.jit
def softmax_pair(m1, s1, m2, s2):
    m = tl.maximum(m1, m2)
    return m, s1 * tl.exp(m1 - m) + s2 * tl.exp(m2 - m)


@triton.jit
def first(a, b):
    return a


@triton.jit
def custom_combine(x, out, scanned, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    a = tl.load(x + i)
    m, s = tl.reduce((a, tl.full([BLOCK], 1.0, tl.float32)), 0, softmax_pair)
    tl.store(out, m + tl.log(s))
    tl.store(out + 1, tl.reduce(a, 0, first))
    m, s = tl.associative_scan((a, tl.full([BLOCK], 1.0, tl.float32)), 0, softmax_pair)
    tl.store(scanned + i, m + tl.log(s))
    tl.store(scanned + BLOCK + i, tl.associative_scan(a, 0, first, reverse=True))


@triton.jit
def order_and_count(x, ordered, counts, BLOCK: tl.constexpr, BINS: tl.constexpr):
    i = tl.arange(0, BLOCK)
    a = tl.load(x + i)
    tl.store(ordered + i, tl.sort(a))
    tl.store(counts + tl.arange(0, BINS), tl.histogram(a.to(tl.int32), BINS))


@triton.jit
def program_ids(out):
    x, y, z = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    at = (z * tl.num_programs(1) + y) * tl.num_programs(0) + x
    tl.store(out + at, x + 10 * y + 100 * z)


@triton.jit
def shift_right(x, u, out):
    tl.store(out, tl.load(x) >> 1)
    tl.store(out + 1, (tl.load(u) >> 1).to(tl.int32))


@triton.jit
def shift_by(x, u, amount, out):
    tl.store(out, tl.load(x) >> tl.load(amount))
    tl.store(out + 1, (tl.load(u) >> tl.load(amount).to(tl.uint32)).to(tl.int32))
    tl.store(out + 2, tl.load(x) << tl.load(amount))


@triton.jit
def failing(x):
    tl.static_assert(False, "meant to fail")


@triton.jit
def constant(out):
    tl.store(out, 1)
