"""pytest plugin: parametrises suites over cases and drills, and appends every record to `results.jsonl`.

Inert unless a collected test carries one of its markers. Nothing here imports torch: that waits until
cases are asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rocassay.harness.errors import RocassayError
from rocassay.harness.options import CASE_TIMEOUT, SUITE_NAMES, Options

if TYPE_CHECKING:
    from rocassay.harness.cases import Case
    from rocassay.harness.controller import Controller
    from rocassay.harness.faults import Fault
    from rocassay.harness.judge import Judge
    from rocassay.harness.results import CaseRecord

RECORD = "rocassay-record"
"""User property under which a worker sends a record to the controller."""

PEAK = "rocassay-peak"
"""User property under which a worker tells its process id and the bytes it ever had resident."""

DIED = "???"
"""Phase of a report that pytest-xdist makes of an item whose worker died."""

_OPTIONS: pytest.StashKey[Options] = pytest.StashKey()
_CONTROLLER: pytest.StashKey[Controller] = pytest.StashKey()
_DONE: pytest.StashKey[frozenset[tuple[str, str]]] = pytest.StashKey()
_MINE: pytest.StashKey[frozenset[tuple[str, str]] | None] = pytest.StashKey()
"""What this shard of the selection holds; None for a whole run."""

_LISTS: Mapping[str, str] = {
    "op": "only this op (repeatable)",
    "arch": "only this gfx architecture (repeatable)",
    "fp8": "only this FP8 flavour (repeatable)",
    "block-size": "only this block size (repeatable)",
    "case": "exactly this case id, or @FILE with one a line (repeatable)",
    "fault": "only this fault's drill (repeatable)",
    "waivers": "file of known failures (repeatable)",
    "suite": "kernels or drills: which must run (repeatable; default both)",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of a run; the command line of `rocassay` sets them."""
    group = parser.getgroup("rocassay", "assay ROCm attention kernels")
    for name, text in _LISTS.items():
        kind = int if name == "block-size" else str
        group.addoption(f"--rocassay-{name}", action="append", default=[], type=kind, help=text)
    group.addoption("--rocassay-provider", default="rocassay", help="whose implementation is judged")
    group.addoption("--rocassay-source", default="", help="folder or wheel that holds the provider's code")
    group.addoption("--rocassay-engine", default="", help="what executes it; default: the GPU, else the interpreter")
    group.addoption("--rocassay-tier", default="quick", help="quick, full or nightly")
    group.addoption("--rocassay-seed", default=None, type=int, help="seed of all inputs instead of each case's own")
    group.addoption("--rocassay-seeds", default=1, type=int, help="how many seeds, from --rocassay-seed or 0 on")
    group.addoption("--rocassay-case-timeout", default=CASE_TIMEOUT, type=float, help="seconds a case may take; 0: any")
    group.addoption("--rocassay-case-memory", default=None, type=float, help="GiB a case may take; 0: any")
    group.addoption("--rocassay-shard", default="", help="I/N: only the I-th of N parts of the selection")
    group.addoption("--rocassay-durations", default="", help="results file or history that makes the parts equal")
    group.addoption("--rocassay-calibration", default="", help="file of a calibration: judge by its limits, too")
    group.addoption("--rocassay-out", default=None, type=Path, help="folder that gets results.jsonl")
    group.addoption("--rocassay-power", action="store_true", help="drill every case that applies; see --power of drill")
    group.addoption("--rocassay-resume", action="store_true", help="run only what results.jsonl lacks")


def pytest_configure(config: pytest.Config) -> None:
    """Check the options once; in the controlling process, prepare to write records."""
    config.addinivalue_line("markers", "rocassay_cases: parametrised over the selected cases")
    config.addinivalue_line("markers", "rocassay_drills: parametrised over (fault, case) pairs")
    config.addinivalue_line("markers", "browser: looks at a page in a real browser")
    try:
        config.stash[_OPTIONS] = _options(config).checked()
    except RocassayError as error:
        raise pytest.UsageError(str(error)) from error
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is not None:
        config.stash[_DONE] = frozenset((case, fault) for case, fault in worker["rocassay_done"])
        mine: list[tuple[str, str]] | None = worker["rocassay_mine"]
        config.stash[_MINE] = None if mine is None else frozenset((case, fault) for case, fault in mine)


def _options(config: pytest.Config) -> Options:
    def get(name: str) -> Any:
        return config.getoption(name)

    return Options(
        ops=tuple(get("--rocassay-op")),
        arches=tuple(get("--rocassay-arch")),
        fp8s=tuple(get("--rocassay-fp8")),
        block_sizes=tuple(get("--rocassay-block-size")),
        cases=tuple(_case_ids(get("--rocassay-case"))),
        faults=tuple(get("--rocassay-fault")),
        suites=tuple(get("--rocassay-suite")) or SUITE_NAMES,
        provider=get("--rocassay-provider"),
        source=get("--rocassay-source"),
        engine=get("--rocassay-engine"),
        tier=get("--rocassay-tier"),
        seed=get("--rocassay-seed"),
        seeds=get("--rocassay-seeds"),
        out=get("--rocassay-out"),
        resume=get("--rocassay-resume"),
        case_timeout=get("--rocassay-case-timeout"),
        case_memory=get("--rocassay-case-memory"),
        shard=get("--rocassay-shard"),
        durations=get("--rocassay-durations"),
        power=get("--rocassay-power"),
        calibration=get("--rocassay-calibration"),
        waivers=tuple(get("--rocassay-waivers")),
    )


def _case_ids(words: Sequence[str]) -> Iterator[str]:
    """Ids as they are, and those of files: argparse takes minutes over ten thousands of options."""
    for word in words:
        if not word.startswith("@"):
            yield word
            continue
        try:
            yield from Path(word[1:]).read_text().split()
        except OSError as error:
            raise pytest.UsageError(f"cannot read the case ids in {word[1:]}: {error.strerror}") from error


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Open the results file, in the controlling process only."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    config.stash[_DONE] = frozenset()
    config.stash[_MINE] = None
    options = config.stash[_OPTIONS]
    if options.out is None and not options.shard:
        return
    from rocassay.harness.controller import Controller
    from rocassay.harness.junit import run_properties, tell_suite
    from rocassay.harness.sharding import plan_of

    try:
        # Cut once, here: whatever happens to the durations meanwhile, all workers have the same part.
        plan = plan_of(options)
        config.stash[_MINE] = None if plan is None else plan.mine
        if options.out is None:
            return
        controller = Controller(options, plan)
    except RocassayError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[_CONTROLLER] = controller
    for sentence in controller.unkept_limits(alone=not config.getoption("numprocesses", None)):
        sys.stderr.write(f"rocassay: {sentence}\n")
    tell_suite(config.pluginmanager.get_plugins(), run_properties(controller.header))
    config.stash[_DONE] = controller.done


class _Distribution:
    """Hooks that exist only together with pytest-xdist."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell every worker which work is done, so that all collect the same items."""
        done = node.config.stash.get(_DONE, frozenset())
        node.workerinput["rocassay_done"] = sorted(done)
        mine = node.config.stash.get(_MINE, None)
        node.workerinput["rocassay_mine"] = None if mine is None else sorted(mine)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: Any) -> None:
        """Give the item that took a worker along the record that the worker could not send."""
        from rocassay.harness.junit import tell_case
        from rocassay.harness.wording import explain

        controller: Controller | None = _ACTIVE.get("controller")
        record = controller.of_dead(crashitem, report.node) if controller is not None else None
        if record is not None:
            report.longrepr = explain(record)
            report.user_properties.append((RECORD, record.model_dump_json()))
            tell_case(_ACTIVE["session"].config.pluginmanager.get_plugins(), report, record)


def pytest_plugin_registered(plugin: object, manager: pytest.PytestPluginManager) -> None:
    """Join in when xdist is there."""
    if type(plugin).__name__ == "DSession" and not manager.has_plugin("rocassay-distribution"):
        manager.register(_Distribution(), "rocassay-distribution")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise marked tests."""
    markers = {marker.name for marker in metafunc.definition.iter_markers()}
    options = metafunc.config.stash[_OPTIONS]
    try:
        if "rocassay_cases" in markers:
            _parametrise_cases(metafunc, options)
        if "rocassay_drills" in markers:
            _parametrise_drills(metafunc, options)
    except RocassayError as error:
        raise pytest.UsageError(str(error)) from error


def _to_do(config: pytest.Config, case: Case, fault: str = "") -> bool:
    """Whether the work is this shard's and is not done yet."""
    mine, item = config.stash[_MINE], (str(case), fault)
    return item not in config.stash[_DONE] and (mine is None or item in mine)


def _parametrise_cases(metafunc: pytest.Metafunc, options: Options) -> None:
    from rocassay.harness.ops import select_cases

    cases = select_cases(options.tier_name, options.selection(), options.seed_range) if options.judges else []
    todo = [case for case in cases if _to_do(metafunc.config, case)]
    metafunc.parametrize("case", todo, ids=str)


def _parametrise_drills(metafunc: pytest.Metafunc, options: Options) -> None:
    from rocassay.harness.drills import select_drills

    drills = select_drills(options) if options.drills else []
    todo = [(fault, case) for fault, case in drills if _to_do(metafunc.config, case, fault.name)]
    metafunc.parametrize(("fault", "case"), todo, ids=[f"{fault.name}@{case}" for fault, case in todo])


@pytest.fixture(scope="session")
def _judge(request: pytest.FixtureRequest) -> Iterator[Judge]:
    from rocassay.harness.choice import make_judge
    from rocassay.harness.isolation.hooks import guarding

    options = request.config.stash[_OPTIONS]
    with guarding(request.config, options) as guard:
        yield make_judge(options, guard=guard)


def _leave_if_lost(judge: Judge, config: pytest.Config) -> None:
    """End a worker whose device context is gone: the case at hand is recorded as crashed, a new worker goes on."""
    if hasattr(config, "workerinput") and (why := judge.lost()):
        judge.guard.leave(why)


def pytest_enter_pdb() -> None:
    """Give a person in the debugger all the time."""
    from rocassay.harness.isolation import clocks

    clocks.stop()


def _send(node: pytest.Item, record: CaseRecord) -> None:
    """Attach the record, what of it a JUnit file shows, and what the process needed so far, to the item's report."""
    from rocassay.harness.environment import peak_memory
    from rocassay.harness.junit import case_properties

    node.user_properties.append((RECORD, record.model_dump_json()))
    node.user_properties.append((PEAK, f"{os.getpid()} {peak_memory()}"))
    node.user_properties += case_properties(record)


@pytest.fixture
def assay(_judge: Judge, request: pytest.FixtureRequest) -> Callable[[Case], None]:
    """Judge a case, record the verdict and fail unless it is green."""
    from rocassay.harness.choice import is_expected, record_of
    from rocassay.harness.results import Status
    from rocassay.harness.waivers import ledger_of
    from rocassay.harness.wording import complaint

    options = request.config.stash[_OPTIONS]
    known = ledger_of(options.waivers, _judge.provider.divergences)

    def run(case: Case) -> None:
        record = known.applied(record_of(_judge, case))
        _leave_if_lost(_judge, request.config)
        _send(request.node, record)
        if record.status is Status.NOT_RUN and not is_expected(record, options):
            pytest.skip(record.reason)
        if record.status is Status.KNOWN:
            pytest.xfail(record.reason)
        if words := complaint(record, options):
            pytest.fail(words, pytrace=False)

    return run


@pytest.fixture
def drill(_judge: Judge, request: pytest.FixtureRequest) -> Callable[[Fault, Case], None]:
    """Judge a case with a fault injected, record the verdict and fail unless it is red for a declared reason."""
    from rocassay.harness.choice import record_of
    from rocassay.harness.wording import complaint

    options = request.config.stash[_OPTIONS]

    def run(fault: Fault, case: Case) -> None:
        record = record_of(_judge, case, fault)
        _leave_if_lost(_judge, request.config)
        _send(request.node, record)
        if words := complaint(record, options):
            pytest.fail(words, pytrace=False)

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Take the record out of the teardown's report: it travels once, and the JUnit file, made of these, stays small."""
    report = yield
    if report.when == "teardown":
        report.user_properties = [pair for pair in report.user_properties if pair[0] not in (RECORD, PEAK)]
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Hand a finished item's report to the controller, if this process is the one that writes."""
    if (writer := _ACTIVE.get("controller")) is None:
        return
    record = next((str(value) for name, value in report.user_properties if name == RECORD), None)
    for peak in (str(value) for name, value in report.user_properties if name == PEAK):
        process, _, resident = peak.partition(" ")
        writer.needs(int(process), int(resident))
    if record is not None and str(report.when) in ("call", DIED):
        writer.take(record)
    elif report.failed:
        writer.crashed(report.nodeid, report.longreprtext)
    if writer.broken:
        session = _ACTIVE["session"]
        session.shouldstop = writer.broken
        # Together with xdist the loop asks its own object whether to stop.
        if (distribution := session.config.pluginmanager.get_plugin("dsession")) is not None:
            distribution.shouldstop = writer.broken


_ACTIVE: dict[str, Any] = {}
"""The controller and session of the run in progress: `pytest_runtest_logreport` is given neither."""


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Route reports to the controller while tests run."""
    controller = session.config.stash.get(_CONTROLLER, None)
    if controller is not None:
        _ACTIVE.update(controller=controller, session=session)
    try:
        return (yield)
    finally:
        _ACTIVE.clear()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Close the file; a run whose records are not all green has failed, whatever pytest counted."""
    controller = session.config.stash.get(_CONTROLLER, None)
    if controller is None:
        return
    reasons = controller.finish(interrupted=exitstatus not in (0, 1, 5))
    if exitstatus in (0, 1, 5):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED if reasons else pytest.ExitCode.OK


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say in words why the verdict is red and where the records are."""
    controller = config.stash.get(_CONTROLLER, None)
    if controller is not None:
        terminalreporter.section("rocassay")
        for line in controller.summary():
            terminalreporter.write_line(line)
