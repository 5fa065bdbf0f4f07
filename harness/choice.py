"""What a run's options come to: engine, provider, judge, limits, ledger, and the cells that must run."""

from __future__ import annotations

import functools
from pathlib import Path

from rocassay.harness.calibration.judging import TightenedLimits, limits_for
from rocassay.harness.cases import Case
from rocassay.harness.drills import verdict_of
from rocassay.harness.engines.base import Engine, engine
from rocassay.harness.faults import Fault
from rocassay.harness.isolation.guard import Guard
from rocassay.harness.judge import Judge, unfit
from rocassay.harness.ops import expected_cells, op_named, select_cases
from rocassay.harness.options import Options
from rocassay.harness.providers import Provider, provider
from rocassay.harness.results import CaseRecord, Cell
from rocassay.harness.waivers import Ledger, ledger_of


@functools.cache
def default_engine() -> str:
    """The GPU where there is one, else the interpreter."""
    import torch

    return "device" if torch.cuda.is_available() else "interpreter"


@functools.lru_cache(maxsize=4)
def chosen_engine(name: str) -> Engine:
    """The engine called `name`, or the default one."""
    return engine(name or default_engine())


@functools.lru_cache(maxsize=4)
def cells_of(options: Options) -> tuple[Cell, ...]:
    """Cells of the expected-to-run matrix that this run has to fill."""
    if options.cases or not options.judges:
        return ()
    chosen, nobodys = chosen_engine(options.engine), _unclaimed(options)
    wanted = expected_cells(chosen.name, options.selection())
    wanted = (cell for cell in wanted if _elsewhere(options, chosen) or chosen.stands_for(cell.arch))
    return tuple(cell for cell in wanted if place_of(cell) not in nobodys)


def _elsewhere(options: Options, chosen: Engine) -> bool:
    """Whether the GPU of this machine, or its absence, says nothing of those that judge: a cluster's."""
    return bool(options.ray) and chosen.device.type != "cpu"


def _unclaimed(options: Options) -> frozenset[tuple[str, str, str, int]]:
    """Places of cells whose cases the provider does not offer, or offers on another kind of machine only.

    A cell without any case is none of them: that a declared case was lost is nobody's claim.
    """
    who, engine = provider_of(options), chosen_engine(options.engine)
    cases = select_cases(options.tier_name, options.selection(), options.seed_range)
    claimed = {place_of(case) for case in cases if _claims(who, None if _elsewhere(options, engine) else engine, case)}
    return frozenset(place for case in cases if (place := place_of(case)) not in claimed)


def _claims(who: Provider, engine: Engine | None, case: Case) -> bool:
    """Whether the provider offers the case, for this kind of machine if `engine` is of one."""
    op = op_named(case.op)
    return who.declines(op, case) is None and (engine is None or unfit(who, op, engine, case) is None)


def is_expected(record: CaseRecord, options: Options) -> bool:
    """Whether the matrix lists the record's cell, so that not running it is a failure."""
    cell = Cell(op=record.op, arch=record.arch, fp8=record.fp8, block_size=record.block_size, engine=record.engine)
    return record.offered and cell in cells_of(options)


def provider_of(options: Options) -> Provider:
    """The provider that was asked for, with the source that was named."""
    return provider(options.provider, options.source)


def make_judge(
    options: Options, run_id: str = "", guard: Guard | None = None, limits: TightenedLimits | None = None
) -> Judge:
    """A judge for the provider, engine and tier of a run; without a guard nothing limits its cases.

    `limits`: of the calibration; by default they are read from the options' file.
    """
    chosen, limits = chosen_engine(options.engine), limits or tightened_limits(options)
    return Judge(provider_of(options), chosen, options.tier_name, run_id, guard or Guard(), limits)


def ledger_for(options: Options) -> Ledger:
    """What is known to fail: the waivers that were given, and the divergences that the provider brings."""
    return ledger_of(options.waivers, provider_of(options).divergences)


def record_of(judge: Judge, case: Case, fault: Fault | None = None) -> CaseRecord:
    """The verdict on a case; with a fault injected the one that a drill makes of it."""
    record = judge(case, fault)
    return verdict_of(fault, record) if fault else record


def tightened_limits(options: Options) -> TightenedLimits | None:
    """The limits of the calibration that was given; CalibrationError when it is not of this run's kind."""
    if not options.calibration:
        return None
    return limits_for(Path(options.calibration), chosen_engine(options.engine), options.provider)


def place_of(of: Case | Cell) -> tuple[str, str, str, int]:
    """What a case and the cell that it fills have in common."""
    return (of.op, of.arch, of.fp8, of.block_size)
