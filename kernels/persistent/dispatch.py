"""The frozen decisions of MLA decode launches, made by pure functions from target, element types and shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rocassay.harness.arch import PROFILES, Target
from rocassay.kernels.persistent.buffers import PlanError
from rocassay.kernels.persistent.planner import Policy, Schedule
from rocassay.kernels.persistent.shapes import DecodeShape, Element

MlaPath: TypeAlias = Literal["persistent", "plain"]
"""One program a workgroup of a plan, or one a (request, rows, split) with a split count for all requests."""

MAX_SPLITS = 16
"""Most splits of the plain path (AITER aiter/mla.py, `get_meta_param`)."""

_SPLIT_CHARGE = 84.1
"""Keys that one more split costs (AITER aiter/mla.py, `get_meta_param`)."""

_FALLBACK_COMPUTE_UNITS = 256


@dataclass(frozen=True, slots=True)
class MlaDispatch:
    """The dispatch table of dense MLA decode."""

    half_dot_arches: frozenset[str] = frozenset()
    """Architectures whose FP8 scores are multiplied as fp16 although the matrix unit knows the flavour."""

    most_splits: int = MAX_SPLITS
    """Splits of the plain path, at most."""

    plan_lanes: int = 256
    """Requests that the device planner counts at a time."""


DISPATCH = MlaDispatch()
"""The shipped table."""


@dataclass(frozen=True, slots=True)
class MlaReduceVariant:
    """Decisions of one `mla_reduce` launch."""

    fold: int = 1
    """Pseudo-requests of a request in the plan."""

    tile_tokens: int = 1
    """Most tokens of a tile."""

    rows: int = 1
    """(token, head) rows a program; a power of two."""

    parts: int = 8
    """Parts that are loaded at once; a power of two."""

    num_warps: int = 4
    """Waves a program."""


@dataclass(frozen=True, slots=True)
class MlaDecodeVariant:
    """Decisions of one `mla_decode_fwd` launch."""

    path: MlaPath
    """Which implementation."""

    fp8: str
    """Format of FP8 codes, `e4m3fn` or `e4m3fnuz`; unused while queries and cache are bf16."""

    native: bool
    """Whether the executing thing decodes `fp8` itself."""

    half_dot: bool
    """Whether FP8 scores are fp16 products: where the matrix unit lacks the flavour or sums too few bits."""

    fold: int = 1
    """Pseudo-requests of a request in the plan."""

    compute_units: int = _FALLBACK_COMPUTE_UNITS
    """Compute units that the plain path fills."""

    most_splits: int = MAX_SPLITS
    """Splits of the plain path, at most."""

    fixed_splits: int | None = None
    """Number of splits of the plain path instead of the heuristic's."""

    block_m: int = 16
    """(token, head) rows at a time; a power of two, at least 16."""

    block_n: int = 32
    """Keys a tile."""

    num_warps: int = 4
    """Waves a program."""

    num_stages: int = 2
    """Software pipeline depth of the loop over key tiles."""

    reduce: MlaReduceVariant = field(default_factory=MlaReduceVariant)
    """Decisions of the second stage."""

    def splits(self, batch: int, positions: int, page_size: int) -> int:
        """Splits of the plain path; `positions` is the size of kv_indices, never a device value."""
        if self.fixed_splits is not None:
            return self.fixed_splits
        keys = positions * page_size // max(1, batch)
        return plain_splits(batch, keys, self.compute_units, self.most_splits)

    @property
    def options(self) -> dict[str, int]:
        """Launch keywords that are no kernel parameters."""
        return {"num_warps": self.num_warps, "num_stages": self.num_stages}


@dataclass(frozen=True, slots=True)
class MlaPlanVariant:
    """Decisions of one `mla_plan` launch: the constants of a `planner.Schedule`, and how the kernel walks."""

    policy: Policy
    """The clean plan, or AITER's."""

    granularity: int
    """Tokens of a unit."""

    overhead: int
    """Units charged for every item."""

    tile_tokens: int
    """Most tokens of a tile: rows that every part gets in the partial buffer."""

    heads: int
    """Heads of a row of the plan: of a pseudo-request where heads are folded."""

    rows: int
    """Rows (tokens times heads) of a workgroup's tile."""

    one_tile: bool
    """Whether a whole query is one tile; policy `v1.2` only."""

    fold: int = 1
    """Pseudo-requests of a request."""

    lanes: int = 256
    """Requests or buffer elements at a time; a power of two."""

    num_warps: int = 4
    """Waves of the one program."""

    def tiles_of(self, qlen: int) -> int:
        """Tiles of a query of `qlen` tokens."""
        if self.policy == "exact":
            return -(-qlen // self.tile_tokens)
        if self.one_tile:
            return min(qlen, 1)
        return qlen if 2 * self.heads > self.rows else -(-qlen * self.heads // self.rows)


def mla_plan_variant(shape: DecodeShape, schedule: Schedule, dispatch: MlaDispatch) -> MlaPlanVariant:
    """The schedule of a plan as the kernel's constants; the tiling of `exact` ignores the shape's."""
    return MlaPlanVariant(
        policy=schedule.policy,
        granularity=schedule.granularity,
        overhead=schedule.overhead,
        tile_tokens=schedule.tile_tokens,
        heads=shape.heads // shape.fold,
        rows=shape.rows,
        one_tile=shape.max_qlen * shape.heads <= shape.rows,
        fold=shape.fold,
        lanes=dispatch.plan_lanes,
    )


def plain_splits(batch: int, keys: int, compute_units: int, most: int = MAX_SPLITS) -> int:
    """Splits that keep most compute units busy for their charge; ties go to fewer (AITER aiter/mla.py)."""

    def worth(splits: int) -> float:
        programs = batch * splits
        waves = -(-programs // compute_units)
        return programs / (waves * compute_units) * keys / (keys + _SPLIT_CHARGE * splits)

    return max(range(1, most + 1), key=lambda splits: (worth(splits), -splits)) if keys else 1


def mla_decode_variant(
    target: Target,
    *,
    heads: int,
    max_qlen: int = 1,
    q: Element = "bf16",
    kv: Element = "bf16",
    fp8: str = "e4m3fn",
    path: MlaPath = "persistent",
    splits: int | None = None,
    dispatch: MlaDispatch = DISPATCH,
) -> MlaDecodeVariant:
    """Decode decisions for `heads` heads, padding included; raises PlanError for heads that no plan takes."""
    if (q, kv) == ("fp8", "bf16"):
        raise PlanError("FP8 queries need an FP8 cache; quantise the cache too, or pass bf16 queries")
    shape = DecodeShape(target.arch, heads, max_qlen, q, kv)
    fold = shape.fold if path == "persistent" else 1
    width = heads // fold
    tokens = min(max_qlen, -(-shape.rows // width))
    native = fp8 in target.native_fp8
    units = PROFILES[target.arch].compute_units if target.arch in PROFILES else None
    block_m, block_n, warps, stages = _tile(target, tokens * width, kv, native)
    return MlaDecodeVariant(
        path=path,
        fp8=fp8,
        native=native,
        # The FP8 matrix instructions of NVIDIA Hopper keep 14 bits of a sum.
        half_dot=not native or target.backend == "cuda" or target.arch in dispatch.half_dot_arches,
        fold=fold,
        compute_units=units or _FALLBACK_COMPUTE_UNITS,
        most_splits=dispatch.most_splits,
        fixed_splits=splits,
        block_m=block_m,
        block_n=block_n,
        num_warps=warps,
        num_stages=stages,
        reduce=mla_reduce_variant(target, fold=fold, tile_tokens=tokens),
    )


def mla_reduce_variant(target: Target, *, fold: int = 1, tile_tokens: int = 1) -> MlaReduceVariant:
    """Decisions of a second stage of its own."""
    # An interpreter pays for programs, a device for programs that are too few.
    rows = 16 if target.backend == "interpreter" else 1
    return MlaReduceVariant(fold=fold, tile_tokens=tile_tokens, rows=rows)


def _tile(target: Target, rows: int, kv: Element, native: bool) -> tuple[int, int, int, int]:
    """(rows, keys, waves, stages) of a tile."""
    fitting = max(16, min(64, 1 << max(0, rows - 1).bit_length()))
    if target.backend == "cuda":
        # Chosen by time on an H200: FP8 tiles beside a second stage spill, wide bf16 ones of 64 rows do not fit.
        wide = (fitting < 64) == (kv == "bf16")
        return fitting, 128 if wide else 64, 8, 2 if kv == "bf16" else 1
    # Eight waves spill on CDNA; four of them hold 64 rows, and a second stage only beside 16.
    if kv == "fp8" and not native:
        # Decoding a foreign flavour by integers takes registers, too.
        return (16, 32, 4, 1) if fitting == 16 else (32, 16, 4, 1)
    if fitting == 16:
        return (16, 64, 4, 1) if kv == "fp8" else (16, 32, 4, 2)
    # Decoding a foreign flavour by integers takes registers, too.
    return (fitting, 32, 4, 1) if kv == "bf16" or native else (32, 16, 4, 1)
