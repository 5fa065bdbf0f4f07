"""Random problems for planners, and the plan, buffers and rules that belong to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rocassay.kernels.persistent.buffers import NAMES, Buffers, Sizes, decode_sizes
from rocassay.kernels.persistent.planner import Lengths, Plan, Policy, Schedule, plan_decode, sizes, write
from rocassay.kernels.persistent.shapes import DecodeShape, Element
from rocassay.references.persistent.plan_records import PlanBuffers, Requests, Rules
from rocassay.suites.persistent.promises import promised

V_HEAD_DIM = 512

HEADS = (8, 12, 16, 24, 32, 64, 96, 128)
WORKERS = (1, 3, 80, 256, 304, 512)
BATCHES = (1, 2, 3, 7, 16, 40)
LARGE_BATCH = 512
QUERY_LENGTHS = (0, 1, 2, 4, 7, 19)


@dataclass(frozen=True, slots=True)
class Draw:
    """What random problems are drawn from."""

    batches: tuple[int, ...] = BATCHES
    workers: tuple[int, ...] = WORKERS
    arches: tuple[str, ...] = ("gfx942", "gfx950")
    large: int = LARGE_BATCH
    """Requests of one problem in a hundred."""


ANYTHING = Draw()


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Inputs of a planner: int32 [B+1] rows and pages, [B] last page lengths, and the decisions."""

    qo_indptr: np.ndarray
    kv_indptr: np.ndarray
    last_page_len: np.ndarray
    heads: int
    schedule: Schedule
    fold: int = 1

    @property
    def lengths(self) -> Lengths:
        """What the planner walks."""
        page = self.schedule.page_size
        return Lengths.dense(self.qo_indptr, self.kv_indptr, self.last_page_len, page_size=page, fold=self.fold)

    @property
    def requests(self) -> Requests:
        """What the checker judges against."""
        page = self.schedule.page_size
        return Requests.dense(self.qo_indptr, self.kv_indptr, self.last_page_len, page_size=page, fold=self.fold)

    @property
    def sizes(self) -> Sizes:
        """The capacities that are promised to suffice, each reached by some plan."""
        batch = len(self.last_page_len)
        if self.schedule.shape is not None:
            shape = self.schedule.shape
            return sizes(shape, batch=batch, workers=self.schedule.workers, max_splits=self.schedule.max_splits)
        longest = int(np.diff(self.qo_indptr).max(initial=1)) or 1
        tiles = -(-longest // self.schedule.tile_tokens)
        return decode_sizes(batch=batch, tiles=tiles, workers=self.schedule.workers)

    def rules(self, plan: Plan) -> Rules:
        """What the planner promised."""
        rows = self.sizes.partials * self.schedule.tile_tokens
        return promised(self.schedule, plan, partial_rows=rows, row_elements=self.heads * V_HEAD_DIM)


def built(problem: Problem, poison: int = -7) -> tuple[Plan, PlanBuffers, Rules]:
    """Plan of a problem, in buffers of exactly the promised sizes."""
    plan = plan_decode(problem.lengths, problem.schedule)
    buffers = Buffers.allocate(problem.sizes, poison)
    write(plan, buffers, policy=problem.schedule.policy)
    return plan, PlanBuffers.of(*(getattr(buffers, name) for name in NAMES)), problem.rules(plan)


def problem_of(q_lens: list[int], kv_lens: list[int], schedule: Schedule, *, heads: int = 16, fold: int = 1) -> Problem:
    """Requests of these query tokens and keys, their pages one after the other."""
    page = schedule.page_size
    keys = np.array(kv_lens, np.int64)
    pages = -(-keys // page)
    last = np.where(keys > 0, keys - (pages - 1) * page, 0)
    rows, positions = (np.append(0, np.cumsum(values)).astype(np.int32) for values in (np.array(q_lens), pages))
    return Problem(rows, positions, last.astype(np.int32), heads, schedule, fold)


def random_problem(seed: int, policy: Policy, draw: Draw = ANYTHING) -> Problem:
    """Problem number `seed`: the lengths, pages, heads and workgroups at which planners have gone wrong."""
    random = np.random.default_rng([seed, len(policy)])
    large = random.integers(100) == 0
    batch = draw.large if large else int(random.choice(draw.batches))
    page, workers = int(random.choice((1, 16, 64))), int(random.choice(draw.workers))
    causal = bool(random.integers(4))
    splits = (None, 1, 8)[random.integers(3)]
    if policy == "exact":
        granularity = page * int(random.choice((1, 2, 4))) * (16 if page == 1 else 1)
        heads, overhead = int(random.choice(HEADS)), int(random.choice((0, 1, 4, 16)))
        rows = int(random.choice((64, 128)))
        schedule = Schedule.exact(
            workers=workers, heads=heads, tile_rows=rows, granularity=granularity, overhead=overhead,
            page_size=page, causal=causal, max_splits=splits,
        )  # fmt: skip
        q_lens = random.choice(QUERY_LENGTHS, batch)
        return problem_of(q_lens.tolist(), _keys(random, batch, granularity, 19), schedule, heads=heads)
    return _random_v1_2(random, draw.arches, batch, page, workers, causal, splits)


def _random_v1_2(
    random: np.random.Generator,
    arches: tuple[str, ...],
    batch: int,
    page: int,
    workers: int,
    causal: bool,
    splits: int | None,
) -> Problem:
    qlen = int(random.integers(1, 9))
    heads = int(random.choice((16, 32, 48, 64, 96, 128)))
    arch = str(random.choice(arches))
    element: Element = "fp8" if random.integers(2) else "bf16"
    shape = DecodeShape(arch, heads, qlen, element, element)
    page = 1 if shape.fold > 1 else page
    schedule = Schedule.v1_2(shape, workers=workers, page_size=page, causal=causal, max_splits=splits)
    q_lens = [qlen] * batch if shape.fold > 1 else random.integers(0, qlen + 1, batch).tolist()
    keys = _keys(random, batch, schedule.granularity, qlen)
    return problem_of(q_lens, keys, schedule, heads=heads // shape.fold, fold=shape.fold)


def _keys(random: np.random.Generator, batch: int, granularity: int, short: int) -> list[int]:
    """Lengths around 0, the query length, multiples of the granularity, and one long among short ones."""
    edge = granularity * random.integers(1, 40, batch) + random.integers(-1, 2, batch)
    kinds = [edge, random.integers(0, short, batch), random.integers(0, 10_000, batch), np.full(batch, 512)]
    keys = np.choose(random.integers(len(kinds), size=batch), kinds)
    if random.integers(4) == 0:
        keys = np.full(batch, 512)
        keys[random.integers(batch)] = 100_000
    return keys.tolist()
