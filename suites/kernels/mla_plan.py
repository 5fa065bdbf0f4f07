"""Op `mla_plan`: the plan of persistent decode made on the device, byte for byte as the host planner makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, Value
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Pointers
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.results import Coordinate
from rocassay.kernels.persistent.buffers import NAMES, Buffers, PlanError, decode_sizes
from rocassay.kernels.persistent.dispatch import DISPATCH, MlaDispatch, MlaPlanVariant, mla_plan_variant
from rocassay.kernels.persistent.planner import Lengths, Plan, Policy, Schedule, plan_decode, write
from rocassay.kernels.persistent.shapes import FOLDED_HEADS, DecodeShape, Element
from rocassay.references.persistent import mla_plan as reference
from rocassay.references.persistent.plan_records import Rules
from rocassay.suites.kernels.persistent_axes import ARCHES, FP8S, PAGE_SIZES
from rocassay.suites.kernels.persistent_inputs import VALUE_DIM
from rocassay.suites.persistent.promises import promised

NAME = "mla_plan"
WORKERS = (1, 3, 5, 80, 256, 304)
OUTPUTS = NAMES[1:]
ADDRESSED = ("work_indptr", "work_info_set")
"""Buffers whose addresses work_metadata holds, in this order."""

SPARE = 3
"""Elements or rows of every buffer beyond the largest plan; work_indptr has none to spare."""

STALE = -7
STALE_TAIL = 41
"""What the last page of a request without pages holds: a number that nobody may go by."""

BLIND = {"exact": 193, "v1.2": 1089}
"""Keys of each of four requests that five workgroups would cut one key before the end; with so many keys more that
the cut is the last that falls behind the barrier, or the first before it, `edge`."""


def cases(tier: Tier) -> Iterable[Case]:
    """Each once: some edges of the quick tier are shapes of the full one."""
    return dict.fromkeys(_declared(tier))


def _declared(tier: Tier) -> Iterable[Case]:
    """Quick: both policies, page sizes, query lengths, folds, capped splits, and few or many workgroups."""
    for arch in ARCHES:
        for policy in ("exact", "v1.2"):
            for page in PAGE_SIZES:
                yield _case(arch, page, policy=policy)
                yield _case(arch, page, policy=policy, qlen=4, ragged=1, workers=3)
            yield _case(arch, 1, policy=policy, workers=80, requests=3)
            yield _case(arch, 1, policy=policy, splits=1, workers=16)
            yield _case(arch, 1, policy=policy, keys=BLIND[policy], requests=4, qlen=4)
            yield _case(arch, 1, policy=policy, heads=64, qlen=2)
            yield _case(arch, 1, policy=policy, heads=128, qlen=3, dtype="fp8", ragged=arch == "gfx942")
            yield _case(arch, 16, policy=policy, causal=0, qlen=4, ragged=1)
            yield _case(arch, 1, policy=policy, qlen=16, requests=4, ragged=1)
            # Several tiles of a request: folded or not, on pages, seen by all; splits for them, and for one alone.
            yield _case(arch, 1, policy=policy, heads=64, qlen=3, requests=3, splits=2, workers=40)
            tall = {"policy": policy, "heads": 128, "dtype": "fp8", "qlen": 3}
            yield _case(arch, 1, **tall, requests=3, splits=2, workers=40)
            yield _case(arch, 16, **tall, workers=16)
            yield _case(arch, 1, **tall, workers=16, causal=0)
            yield _case(arch, 1, policy=policy, keys=500, requests=1, splits=1, workers=16)
            yield from _edges(arch, policy)
        if tier != "quick":
            yield from _full(arch)


def _edges(arch: str, policy: str) -> Iterable[Case]:
    """Cuts at the last key that allows one and at the next, lists that begin behind 0, tails of one element."""
    yield _case(arch, 1, policy=policy, qlen=4, requests=4, keys="edge")
    # The barrier of pages, and none.
    yield _case(arch, 16, policy=policy, heads=128, dtype="fp8", qlen=7, requests=2, workers=15, keys="edge")
    # A cut after others, in the second tile; fewer keys than tokens, met by a workgroup that is full; units of a key.
    part: dict[str, Value | bool] = {"policy": policy, "first": 5, "spare": 1}
    yield _case(arch, 1, **part, unit=32, qlen=10, requests=1, workers=21, keys="edge")
    yield _case(arch, 1, **part, unit=4, qlen=16, requests=4, workers=14, keys=3)
    yield _case(arch, 1, **part, unit=1, qlen=12, requests=4)
    # More requests than are counted at a time, and no split at all.
    yield _case(arch, 1, policy=policy, requests=260, idle=256, keys=500)
    yield _case(arch, 1, policy=policy, splits="zero", requests=3)
    if (arch, policy) == ("gfx950", "v1.2"):
        # Heads that do not divide the rows of a tile: taller tiles, and one without rows; tokens of half a tile.
        yield _case(arch, 16, policy=policy, heads=40, qlen=16, ragged=1)
        yield _case(arch, 1, policy=policy, heads=48, qlen=4)


def _full(arch: str) -> Iterable[Case]:
    for policy in ("exact", "v1.2"):
        for workers in WORKERS:
            for page in PAGE_SIZES:
                yield _case(arch, page, policy=policy, workers=workers, qlen=2, ragged=1, requests=12)
        for heads in (16, 32, 48, 64, 96, 128):
            for dtype in ("bf16", "fp8"):
                for splits in (0, 8):
                    yield _case(arch, 1, policy=policy, heads=heads, dtype=dtype, qlen=4, splits=splits)
        yield _case(arch, 1, policy=policy, requests=300, workers=256)


def _case(arch: str, page: int, **params: Value | bool) -> Case:
    defaults: dict[str, Value | bool] = {
        "policy": "exact", "heads": 16, "dtype": "bf16", "qlen": 1, "requests": 7, "workers": 5, "splits": 0,
        "causal": 1, "ragged": 0, "keys": "mixed",
    }  # fmt: skip
    chosen = {name: int(value) if isinstance(value, bool) else value for name, value in (defaults | params).items()}
    return Case(NAME, arch, FP8S[0], page, tuple({"chip": arch, **chosen}.items()))


def _option(case: Case, name: str, default: int) -> int:
    """A parameter that few cases have: tokens a `unit`, `first` token and page, `idle` requests, `spare` elements."""
    return int(dict(case.params).get(name, default))


def most_splits(case: Case) -> int | None:
    """Splits a tile at most: none for 0, and 0 for the word `zero`, which asks for one workgroup."""
    return 0 if case["splits"] == "zero" else case.integer("splits") or None


def shape_of(case: Case) -> DecodeShape:
    """What the tiling of a case depends on."""
    kind = cast("Element", case["dtype"])
    return DecodeShape(str(case["chip"]), case.integer("heads"), case.integer("qlen"), kind, kind)


def schedule_of(case: Case, shape: DecodeShape) -> Schedule:
    """Workgroups, units and charges of a case's plan."""
    page, splits = case.block_size, most_splits(case)
    workers, causal = case.integer("workers"), bool(case["causal"])
    if case["policy"] == "exact":
        heads = shape.heads // shape.fold
        unit = _option(case, "unit", max(16, page))
        return Schedule.exact(
            workers=workers, heads=heads, tile_rows=shape.rows, granularity=unit, overhead=2,
            page_size=page, causal=causal, max_splits=splits,
        )  # fmt: skip
    unit = _option(case, "unit", 16 if page == 1 else 2 * page)
    return Schedule.v1_2(
        shape, workers=workers, kv_granularity=unit // page, page_size=page, causal=causal, max_splits=splits
    )


def inputs(case: Case, stream: Stream) -> Operands:
    """Lengths around 0, the query length and the edges of units, one long request; buffers full of stale numbers."""
    shape = shape_of(case)
    schedule = schedule_of(case, shape)
    count, qlen, page = case.integer("requests"), case.integer("qlen"), case.block_size
    q_lens = np.full(count, qlen)
    if case["ragged"]:
        q_lens = stream.child("q_lens").integers(0, qlen + 1, count)
        q_lens[1 % count] = qlen
    units = stream.child("units").integers(1, 12, count)
    kinds = np.stack(
        [
            units * schedule.granularity + stream.child("beside").integers(-1, 2, count),
            stream.child("short").integers(0, qlen + 2, count),
            stream.child("any").integers(0, 700, count),
        ]
    )
    keys = kinds[stream.child("kind").integers(0, len(kinds), count), np.arange(count)]
    keys[0], keys[count // 2] = 3000, 0
    if case["keys"] == "edge":
        keys[:] = BLIND[str(case["policy"])] + qlen - 2 + np.arange(count) % 2
    elif case["keys"] != "mixed":
        keys[:] = case.integer("keys")
    idle, first = _option(case, "idle", 0), _option(case, "first", 0)
    q_lens[:idle] = keys[:idle] = 0
    pages = -(-keys // page)
    last = np.where(pages > 0, keys - (pages - 1) * page, STALE_TAIL)
    sizes = decode_sizes(
        batch=count * shape.fold,
        tiles=mla_plan_variant(shape, schedule, DISPATCH).tiles_of(qlen),
        workers=schedule.workers,
        max_splits=schedule.max_splits,
    )
    spare = _option(case, "spare", SPARE)
    roomy = replace(sizes, work=sizes.work + spare, groups=sizes.groups + spare, partials=sizes.partials + spare)
    buffers = Buffers.allocate(roomy, STALE)
    return Operands(
        inputs={
            "qo_indptr": torch.tensor(np.cumsum([first, *q_lens]), dtype=torch.int32),
            "kv_indptr": torch.tensor(np.cumsum([first, *pages]), dtype=torch.int32),
            "last_page_lens": torch.tensor(last, dtype=torch.int32),
        },
        outputs={name: torch.from_numpy(getattr(buffers, name)) for name in OUTPUTS},
        scalars={"page_size": page, "max_qlen": qlen, "causal": case.integer("causal")}
        | ({} if schedule.max_splits is None else {"max_splits": schedule.max_splits}),
        # Addresses differ from run to run: a probe follows them.
        workspaces={"work_metadata": torch.zeros(2, dtype=torch.int64)},
    )


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """The host planner's buffers, which must themselves keep every invariant of a plan."""
    filled = {name: tensor.clone() for name, tensor in operands.outputs.items()}
    plan = _fill(case, operands.inputs, filled)
    findings = reference.mla_plan(operands.inputs, filled, _rules(case, plan), fold=shape_of(case).fold)
    if findings:
        raise PlanError(f"the host planner's plan of case {case} is none: {findings[0]}")
    return {name: ExactBytes(tensor) for name, tensor in filled.items()}


def _rules(case: Case, plan: Plan) -> Rules:
    """What the host planner promised."""
    shape = shape_of(case)
    elements = shape.heads // shape.fold * VALUE_DIM
    return promised(schedule_of(case, shape), plan, partial_rows=plan.partial_rows, row_elements=elements)


def _fill(case: Case, lists: Mapping[str, torch.Tensor], buffers: Mapping[str, torch.Tensor]) -> Plan:
    shape = shape_of(case)
    schedule = schedule_of(case, shape)
    columns = (lists[name].cpu().numpy() for name in ("qo_indptr", "kv_indptr", "last_page_lens"))
    plan = plan_decode(Lengths.dense(*columns, page_size=case.block_size, fold=shape.fold), schedule)
    six = Buffers(np.zeros(2, np.uint64), *(buffers[name].numpy() for name in OUTPUTS))
    write(plan, six, policy=cast("Policy", case["policy"]))
    return plan


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """The host planner, by way of the host."""
    host = {name: arguments[name].cpu() for name in OUTPUTS}
    _fill(case, arguments, host)
    for name, tensor in host.items():
        arguments[name].copy_(tensor)
    for place, name in enumerate(ADDRESSED):
        arguments["work_metadata"][place] = arguments[name].data_ptr()


def variant(case: Case, target: Target, dispatch: MlaDispatch) -> MlaPlanVariant:
    """The schedule's constants."""
    shape = shape_of(case)
    return mla_plan_variant(shape, schedule_of(case, shape), dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Row of a buffer; fields of a work item are batch, slot, q start and end, kv start and end, tokens behind, 0."""
    where = {"row": index[0]}
    if output == "work_info_set":
        where["field"] = index[1]
    return Coordinate(output=output, index=index, where=where)


def other_content(case: Case, operands: Operands) -> Transformed:
    """The same lists into buffers that hold zeros; what is never written comes back as it was."""
    blank = {name: torch.zeros_like(tensor) for name, tensor in operands.outputs.items()}
    untouched = {name: e.expected == STALE for name, e in golden(case, operands).items()}

    def back(outputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return {
            name: torch.where(untouched[name] & (tensor == 0), operands.outputs[name], tensor)
            for name, tensor in outputs.items()
        }

    return case, replace(operands, outputs=blank), back


def accepts(case: Case) -> bool:
    """The chip decides, and takes its heads; folded ones have pages of one key, and queries of one length from 0 on.

    AITER's planner trims keys for tiles without rows, too, which heads that do not divide a tile's rows leave: those
    take pages here. Units hold whole pages.
    """
    shape = shape_of(case)
    if case["chip"] != case.arch or not (shape.native or shape.heads % FOLDED_HEADS == 0):
        return False
    heads = shape.heads // shape.fold
    folded = shape.fold > 1 and (case.block_size > 1 or case["ragged"] or _option(case, "first", 0) > 0)
    trimmed = case["policy"] == "v1.2" and shape.tile_tokens * heads > max(shape.rows, heads)
    whole = _option(case, "unit", case.block_size) % case.block_size == 0
    return not folded and whole and not (trimmed and case.block_size == 1)


OP = register(
    Op(
        name=NAME,
        contract="the six buffers of a persistent plan, equal to the host planner's in every byte, without a host sync",
        launcher="rocassay.kernels.persistent.mla_plan:mla_plan",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "integers only"),
        locate=locate,
        free={"requests": (1, 20), "qlen": (1, 16), "workers": (1, 80), "splits": (0, 8), "keys": (1, 1200)},
        accepts=accepts,
        faults=(
            "ps-buffers-sized-by-max-num-seqs",
            "mla-plan-tail-not-repeated",
            "mla-plan-charge-forgotten",
            "mla-plan-cut-leaves-blind-row",
            "mla-plan-page-tail-forgotten",
        ),
        probes=(
            Dispatch(lambda _: ("_mla_plan_kernel",)),
            Pointers("work_metadata", ADDRESSED),
            Invariance("stale-buffers", other_content, "what a buffer held before is not part of a plan"),
        ),
        probed=lambda case: case["ragged"] == 1,
    )
)
