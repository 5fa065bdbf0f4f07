"""Op `mla_prefill_ps_metadata`: the plan of the persistent FP8 prefill, made on the device. No pages, no FP8."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch
from rocassay.harness.results import Coordinate
from rocassay.kernels.dispatch.mla_prefill import MLA_PREFILL, MlaPrefillTable
from rocassay.kernels.fp8_prefill.dispatch import MetadataVariant, metadata_variant
from rocassay.kernels.fp8_prefill.mla_prefill_ps_metadata import metadata_workspace
from rocassay.kernels.persistent.prefill_planner import plan_prefill, prefill_sizes
from rocassay.references.fp8_prefill import mla_prefill_ps_metadata as reference
from rocassay.suites.kernels.fp8_prefill_axes import ARCHES, NO_PAGES
from rocassay.suites.kernels.fp8_prefill_inputs import Batch, Segments, segments_of

NAME = "mla_prefill_ps_metadata"
STALE = -77
"""What buffers hold before the run; behind the plan they keep it."""

NAMES = ("work_indptr", "work_info_set", "reduce_indptr", "reduce_final_map", "reduce_partial_map")
KERNELS = ("_prefill_tiles_kernel", "_prefill_units_kernel", "_prefill_groups_kernel", "_prefill_works_kernel")
WORDS = ("request", "slot", "q_start", "q_end", "kv_start", "kv_end", "kv_offset", "head_range")
TILE, UNIT = 256, 128

TABLES: Mapping[str, Segments] = MappingProxyType(
    {
        "long": ((4096, 4096), (1, 9000), (700, 5000), (2049, 2049)),
        "none": ((0, 0), (0, 40)),
        "bare": ((7, 0), (300, 0)),
        "single": ((1, 700),),
        "thin": ((1, 700), (7, 0), (600, 40), (1, 300), (7, 0)),
        "many": ((1, 1500), (3, 50), (520, 700)) * 60,
    }
)
"""Beyond those of the attention: no rows, no keys, one tile that all workers share, one unit or two a worker with
tiles that see nothing between, and more requests and tiles than a program handles at once."""


def cases(tier: Tier) -> Iterable[Case]:
    """Every table of segments, one cluster and many; full adds random batches, nightly those of production size."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": ("e4m3fn",), "block_sizes": NO_PAGES}
    words = ("edges", "chunked", "empty", "one", "long")
    yield from cross(NAME, **axes, where=_divides, segments=words, heads=(2, 3), workers=(4, 8))
    yield from cross(NAME, **axes, segments=(7, "none"), heads=(16,), workers=(80,))
    yield from cross(NAME, **axes, segments=("bare", "single", "thin"), heads=(3,), workers=(8,))
    yield from cross(NAME, **axes, segments=("many",), heads=(6,), workers=(44,))
    if tier != "quick":
        yield from cross(NAME, **axes, segments=(1, 31), heads=(12, 16, 128), workers=(256, 304))
    if tier == "nightly":
        yield from cross(NAME, **axes, segments=(130, 300), heads=(12, 16, 128), workers=(256, 304))


def _divides(case: Case) -> bool:
    return (case["heads"], case["workers"]) in ((2, 4), (3, 8))


def _lengths(case: Case, stream: Stream) -> Segments:
    """A table of segments, or so many random ones."""
    word = case["segments"]
    if isinstance(word, str):
        return TABLES[word] if word in TABLES else segments_of(word, TILE)
    rows = stream.child("rows").integers(0, 1500, word)
    prefix = stream.child("prefix").integers(-200, 400, word).clip(min=0)
    return tuple((int(n), int(n + p)) for n, p in zip(rows, prefix, strict=True))


def inputs(case: Case, stream: Stream) -> Operands:
    """Ragged batches and stale buffers of the sizes that are promised for them."""
    batch = Batch(_lengths(case, stream))
    heads, workers = case.integer("heads"), case.integer("workers")
    room = prefill_sizes(batch=len(batch.lengths), heads=heads, max_qlen=batch.longest, workers=workers)
    tiles = max(room.groups, 1)
    shapes = ((workers + 1,), (room.work, 8), (tiles + 1,), (tiles, 2), (room.partials,))
    needed = metadata_workspace(requests=len(batch.lengths), tiles=tiles)
    return Operands(
        inputs={"qo_indptr": torch.from_numpy(batch.qo_indptr), "kv_indptr": torch.from_numpy(batch.kv_indptr)},
        outputs={n: torch.full(shape, STALE, dtype=torch.int32) for n, shape in zip(NAMES, shapes, strict=True)},
        scalars={"num_heads": heads},
        workspaces={"workspace": torch.full((needed,), STALE, dtype=torch.int32)},
    )


def _filled(plan: Mapping[str, Any], outputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The buffers around a plan: what lies behind it is stale, but the tail of reduce_indptr repeats its end."""
    found = {name: outputs[name].clone() for name in NAMES}
    for name in NAMES:
        found[name][: len(plan[name])] = torch.from_numpy(plan[name])
    found["reduce_indptr"][len(plan["reduce_indptr"]) :] = int(plan["reduce_indptr"][-1])
    return found


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """The plan dealt unit by unit; all five buffers whole, their tails included."""
    rows, keys = (operands.inputs[name].tolist() for name in ("qo_indptr", "kv_indptr"))
    shape = {"heads": case.integer("heads"), "workers": case.integer("workers"), "tile_q": TILE, "unit_kv": UNIT}
    plan = reference.mla_prefill_ps_metadata(rows, keys, **shape)
    return {name: ExactBytes(tensor) for name, tensor in _filled(plan, operands.outputs).items()}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """The host planner."""
    lengths = arguments["kv_indptr"].diff().cpu().numpy()
    rows = arguments["qo_indptr"].cpu().numpy()
    plan = plan_prefill(rows, lengths, heads=case.integer("heads"), workers=case.integer("workers"))
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "work_indptr": plan.work_indptr,
        "work_info_set": plan.work_info,
        "reduce_indptr": plan.reduce_indptr,
        "reduce_final_map": plan.final_map,
        "reduce_partial_map": plan.partial_map,
    }
    for name, filled in _filled(arrays, {n: arguments[n].cpu() for n in NAMES}).items():
        arguments[name].copy_(filled)


def variant(case: Case, target: Target, dispatch: MlaPrefillTable) -> MetadataVariant:
    """Neither target nor table matters."""
    return metadata_variant()


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Element -> workgroup, work item and word, group, or part."""
    kinds = {"work_indptr": "worker", "work_info_set": "work", "reduce_partial_map": "part"}
    where: dict[str, int] = {kinds.get(output, "group"): index[0]}
    if len(index) > 1:
        where[WORDS[index[1]] if output == "work_info_set" else "bound"] = index[1]
    return Coordinate(output=output, index=index, where=where)


OP = register(
    Op(
        name=NAME,
        contract="units of keys dealt in order to the workgroups of each cluster; split tiles grouped by their rows",
        launcher="rocassay.kernels.fp8_prefill.mla_prefill_ps_metadata:mla_prefill_ps_metadata",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=MLA_PREFILL,
        cases=cases,
        plan=RoundingPlan((), "integers only"),
        locate=locate,
        free={"segments": (1, 40), "heads": (1, 20), "workers": (1, 40)},
        faults=(
            "prefill-plan-tail-not-repeated",
            "prefill-plan-group-of-one",
            "prefill-plan-context-ignored",
            "prefill-plan-offset-of-the-tile",
            "prefill-to-cpu-and-item",
        ),
        probes=(Dispatch(lambda _: KERNELS),),
    )
)
