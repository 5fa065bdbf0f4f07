"""Benches of dense MLA decode: along a persistent plan against even splits, and the planner on the device.

Batches are skewed, one long request among short ones, as a plan is made for; page size 1, slots in whole blocks.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from rocassay.harness.bench.bench import SHIPPED, Arguments, Bench, Call, Place, Traffic, register
from rocassay.harness.gates import Verdict, Whitened
from rocassay.kernels.persistent.buffers import NAMES, Buffers
from rocassay.kernels.persistent.dispatch import (
    DISPATCH,
    MlaDecodeVariant,
    MlaPath,
    mla_decode_variant,
    mla_plan_variant,
)
from rocassay.kernels.persistent.mla_decode_fwd import mla_decode_fwd
from rocassay.kernels.persistent.mla_plan import mla_plan
from rocassay.kernels.persistent.planner import Lengths, Plan, Schedule, plan_decode, sizes, write
from rocassay.kernels.persistent.shapes import DecodeShape, Element
from rocassay.references.persistent import mla_decode_fwd as reference
from rocassay.suites.bench.draws import codes, compute_units, generator, normal, permutation
from rocassay.suites.kernels.attention_inputs import per_head

KEY_DIM, VALUE_DIM = 576, 512
BLOCK_SIZE = 64
"""Tokens of a block of the cache: neighbouring slots, which a table of page size 1 lists one by one."""

SM_SCALE = 192**-0.5
FP8_SCALE = 8 / 448
"""Brings codes of an eighth of the scaling range to a standard deviation of 1."""

LONG, SHORT = 131072, 4096
GRANULARITY, OVERHEAD = 64, 2
"""Keys of a unit, and units that an item is charged beside its keys."""

CHECKED_HEADS = 2


@dataclass(frozen=True, slots=True)
class Decode:
    """Shape of one decode step: a long request and `batch` - 1 short ones, one token each."""

    batch: int
    heads: int
    kind: Element
    long: int = LONG
    short: int = SHORT

    @property
    def name(self) -> str:
        """`b8-h16-bf16`."""
        return f"b{self.batch}-h{self.heads}-{self.kind}"

    @property
    def lengths(self) -> tuple[int, ...]:
        """Keys of every request."""
        return (self.long, *[self.short] * (self.batch - 1))

    @property
    def traffic(self) -> Traffic:
        """Every latent row and its entry of the list once for all heads; both products are taken in 16 bits."""
        keys, width = sum(self.lengths), 2 if self.kind == "bf16" else 1
        read = keys * (KEY_DIM * width + 4) + self.batch * self.heads * KEY_DIM * width
        flops = 2 * keys * self.heads * (KEY_DIM + VALUE_DIM)
        return Traffic(read, 2 * self.batch * self.heads * VALUE_DIM, flops, "bf16")

    def kernel_shape(self, where: Place) -> DecodeShape:
        """What the planner tiles by."""
        return DecodeShape(where.target.arch, self.heads, 1, self.kind, self.kind)

    def schedule(self, where: Place) -> Schedule:
        """The clean plan on one workgroup a compute unit."""
        shape = self.kernel_shape(where)
        return Schedule.exact(
            workers=compute_units(where.device),
            heads=self.heads // shape.fold,
            tile_rows=shape.rows,
            granularity=GRANULARITY,
            overhead=OVERHEAD,
        )

    def lists(self, device: torch.device) -> dict[str, torch.Tensor]:
        """qo_indptr, kv_indptr and kv_last_page_lens."""
        ends = torch.tensor([0, *self.lengths]).cumsum(0).int()
        ones = torch.ones(self.batch, dtype=torch.int32, device=device)
        rows = torch.arange(self.batch + 1, dtype=torch.int32, device=device)
        return {"qo_indptr": rows, "kv_indptr": ends.to(device), "kv_last_page_lens": ones}

    def host_plan(self, where: Place) -> Plan:
        """The host planner's plan."""
        lists = [x.numpy() for x in self.lists(torch.device("cpu")).values()]
        return plan_decode(Lengths.dense(*lists, fold=self.kernel_shape(where).fold), self.schedule(where))

    def buffers(self, where: Place) -> Buffers:
        """Room for the largest plan of so many requests."""
        shape = self.kernel_shape(where)
        return Buffers.allocate(sizes(shape, batch=self.batch, workers=compute_units(where.device)), -7)

    def variant(self, where: Place, path: MlaPath) -> MlaDecodeVariant:
        """The dispatcher's decisions; plain splits fill the compute units that there are."""
        chosen = mla_decode_variant(where.target, heads=self.heads, q=self.kind, kv=self.kind, fp8=where.fp8, path=path)
        return replace(chosen, compute_units=compute_units(where.device))


def make_decode(shape: Decode, where: Place, count: int) -> list[Arguments]:
    """One pool of latents for all sets, each with rows of its own; plan and partial results are shared."""
    random, device = generator(where.device, 21), where.device
    keys = sum(shape.lengths)
    blocks = -(-keys // BLOCK_SIZE)
    pool = _elements(random, (count * blocks * BLOCK_SIZE, 1, 1, KEY_DIM), shape.kind, where.fp8)
    order = permutation(random, count * blocks).view(count, blocks, 1) * BLOCK_SIZE
    slots = (order + torch.arange(BLOCK_SIZE, dtype=torch.int32, device=device)).view(count, -1)[:, :keys]
    lists = shape.lists(device)
    plan = shape.host_plan(where)
    buffers = shape.buffers(where)
    write(plan, buffers)
    six = {name: torch.from_numpy(getattr(buffers, name)).to(device) for name in NAMES[1:]}
    # No kernel reads these two addresses, and torch has few operations on uint64.
    six["work_meta_data"] = torch.zeros(2, dtype=torch.int64, device=device)
    parts = _partials(shape, where, plan, keys)
    found: list[Arguments] = []
    for listed in slots:
        operands = {
            "q": _elements(random, (shape.batch, shape.heads, KEY_DIM), shape.kind, where.fp8),
            "kv_buffer": pool,
            "kv_indices": listed.contiguous(),
            "o": torch.empty(shape.batch, shape.heads, VALUE_DIM, dtype=torch.bfloat16, device=device),
            **lists,
            **_scales(shape.kind, device),
        }
        planned = {**operands, **six, "logits": parts[0], "attn_lse": parts[1]}
        plain = {**operands, "logits": parts[2], "attn_lse": parts[3]}
        common: dict[str, Any] = {"max_seqlen_q": 1, "sm_scale": SM_SCALE}
        golden = functools.cache(functools.partial(_golden, shape, where, operands))
        found.append(
            {
                "o": operands["o"],
                **dict(zip(("part", "part_lse", "splits", "splits_lse"), parts, strict=True)),
                "planned": {**planned, **common},
                "plain": {**plain, **common},
                "golden": golden,
            }
        )
    return found


def _elements(random: torch.Generator, shape: tuple[int, ...], kind: Element, fp8: str) -> torch.Tensor:
    if kind == "fp8":
        return codes(random, shape, fp8)
    out = torch.empty(shape, dtype=torch.bfloat16, device=random.device)
    for part in out.split(65536):
        part.copy_(normal(random, tuple(part.shape)))
    return out


def _scales(kind: Element, device: torch.device) -> dict[str, torch.Tensor]:
    one = torch.tensor([FP8_SCALE], device=device)
    return {"q_scale": one, "kv_scale": one} if kind == "fp8" else {}


def _partials(shape: Decode, where: Place, plan: Plan, keys: int) -> list[torch.Tensor]:
    """Partial rows and their LSE of the planned launch, and of the plain one."""
    width = shape.heads // shape.kernel_shape(where).fold
    splits = shape.variant(where, "plain").splits(shape.batch, keys, 1)
    rows = (plan.partial_rows + 1, width)
    even = (shape.batch, splits, shape.heads)
    extents = ((*rows, VALUE_DIM), rows, (*even, VALUE_DIM), even)
    return [torch.empty(extent, device=where.device) for extent in extents]


def decode_calls(shape: Decode, where: Place) -> dict[str, Call]:
    """Along the plan; in even splits."""
    planned, plain = shape.variant(where, "persistent"), shape.variant(where, "plain")
    return {
        SHIPPED: lambda a: mla_decode_fwd(**a["planned"], variant=planned),
        "plain": lambda a: mla_decode_fwd(**a["plain"], variant=plain),
    }


def check_decode(where: Place, a: Arguments) -> list[Verdict]:
    """The long request and two short ones, some heads, against the float64 golden."""
    requests, heads, expected = a["golden"]()
    return expected.judge("o", a["o"].cpu()[requests][:, heads])


def _golden(shape: Decode, where: Place, operands: Arguments) -> tuple[torch.Tensor, torch.Tensor, Whitened]:
    """(requests, heads, expectation); only the rows of these requests travel."""
    requests = torch.tensor(sorted({0, shape.batch // 2, shape.batch - 1}))
    heads = torch.tensor(sorted({0, shape.heads - 1}))[:CHECKED_HEADS]
    ends = torch.tensor([0, *shape.lengths]).cumsum(0).tolist()
    slots = torch.cat([operands["kv_indices"][ends[r] : ends[r + 1]] for r in requests.tolist()])
    lengths = [shape.lengths[r] for r in requests.tolist()]
    cache = reference.Cache(
        kv_buffer=operands["kv_buffer"][slots.long()].cpu(),
        qo_indptr=torch.arange(len(requests) + 1),
        kv_indptr=torch.tensor([0, *lengths]).cumsum(0),
        kv_indices=torch.arange(len(slots)),
        kv_last_page_lens=torch.ones(len(requests), dtype=torch.int32),
        fp8=where.fp8,
        causal=True,
    )
    scale = FP8_SCALE if shape.kind == "fp8" else 1.0
    q = operands["q"].cpu()[requests][:, heads]
    golden = reference.mla_decode_fwd(q, cache, sm_scale=SM_SCALE, q_scale=scale, kv_scale=scale)
    return requests, heads, per_head(golden.output)


def make_plan(shape: Decode, where: Place, count: int) -> list[Arguments]:
    """The lists and six buffers of any content."""
    buffers = shape.buffers(where)

    def new() -> Arguments:
        six = {name: torch.from_numpy(getattr(buffers, name)).to(where.device) for name in NAMES[1:]}
        six["work_metadata"] = torch.zeros(2, dtype=torch.int64, device=where.device)
        lists = shape.lists(where.device)
        return {**six, **lists, "last_page_lens": lists["kv_last_page_lens"]}

    return [new() for _ in range(count)]


def plan_calls(shape: Decode, where: Place) -> dict[str, Call]:
    """The planner on the device."""
    variant = mla_plan_variant(shape.kernel_shape(where), shape.schedule(where), DISPATCH)
    order = ("qo_indptr", "kv_indptr", "last_page_lens", *NAMES)
    return {SHIPPED: lambda a: mla_plan(*(a[name] for name in order), page_size=1, max_qlen=1, variant=variant)}


def plan_traffic(shape: Decode) -> Traffic:
    """Lists in, and an item and a group of every request out; the walk is what takes the time."""
    return Traffic(4 * 3 * shape.batch, 4 * (8 + 3) * shape.batch)


def check_plan(shape: Decode, where: Place, a: Arguments) -> list[Verdict]:
    """Every word that a consumer reads, against the host planner."""
    plan = shape.host_plan(where)
    pairs: dict[str, torch.Tensor] = {
        "work_indptr": torch.from_numpy(plan.work_indptr),
        "work_info_set": torch.from_numpy(plan.work_info),
        "reduce_indptr": torch.from_numpy(plan.reduce_indptr),
        "reduce_final_map": torch.from_numpy(plan.final_map),
        "reduce_partial_map": torch.from_numpy(plan.partial_map),
    }
    wrong = {name: int((a[name].cpu()[: len(due)] != due).sum()) for name, due in pairs.items()}
    total = sum(wrong.values())
    detail = f"words that differ from the host's plan: {wrong}"
    return [Verdict("plan", not total, detail, float(total), 0.0, "plans are exact")]


DECODES: Sequence[Decode] = tuple(
    Decode(batch, heads, kind) for heads in (16, 128) for kind in ("bf16", "fp8") for batch in (1, 8, 64)
)

for _decode in DECODES:
    register(
        Bench(
            op="mla_decode_fwd",
            name=_decode.name,
            traffic=_decode.traffic,
            make=functools.partial(make_decode, _decode),
            implementations=functools.partial(decode_calls, _decode),
            outputs=("o", "part", "part_lse", "splits", "splits_lse"),
            check=check_decode,
            shape={"batch": _decode.batch, "heads": _decode.heads, "longest": LONG, "others": SHORT},
        )
    )

for _planned in (Decode(8, 16, "bf16"), Decode(64, 16, "bf16"), Decode(256, 16, "bf16")):
    register(
        Bench(
            op="mla_plan",
            name=f"b{_planned.batch}",
            traffic=plan_traffic(_planned),
            make=functools.partial(make_plan, _planned),
            implementations=functools.partial(plan_calls, _planned),
            outputs=NAMES[1:],
            check=functools.partial(check_plan, _planned),
            shape={"batch": _planned.batch, "longest": LONG, "others": SHORT},
        )
    )
