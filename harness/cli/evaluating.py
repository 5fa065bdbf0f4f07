"""The verb `gsm8k`: end-to-end accuracy of the embedded model or of a served one."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.evaluating import BaselineOf, Evaluator, Rules, Subject
from rocassay.harness.accuracy.history import History
from rocassay.harness.accuracy.outcomes import Run
from rocassay.harness.accuracy.questions import Answerer
from rocassay.harness.accuracy.sequential import Sprt
from rocassay.harness.accuracy.tasks import Task, gsm8k_from_hub, gsm8k_from_path
from rocassay.harness.cli.answering import Bar, print_evaluation, print_table
from rocassay.harness.cli.console import table_console
from rocassay.harness.options import HISTORY, RESULTS, Options
from rocassay.harness.results import Evaluation, Fingerprint, ResultsWriter, configuration_of, read, set_aside_cut_tail

EMBEDDED = "rocassay.suites.gsm8k.evaluation"
"""Module that holds the embedded model; the harness itself knows no model."""

BELOW_PUBLISHED = 0.03
"""How far below a published figure a served model's floor is: what 1319 questions prove of a run that equals it."""

DEAD_BELOW = 0.05
"""How far below its floor a run is that may as well stop."""

TABLE_WIDTH = 140
"""Columns of the table of several evaluations at least."""

TASKS = ("problems", "gsm8k", "retrieval")

RECENT = 3
"""Latest green runs that sharpen the floor."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asked for."""

    task: str = ""
    data: Path | None = None
    shots: int = 5
    lengths: tuple[int, ...] = (4096, 8192, 16384, 32768, 65536, 131072)
    limit: int | None = None
    url: str = ""
    model: str = ""
    suite: str = ""
    in_process: str = ""
    concurrency: int = 64
    timeout: float = 600.0
    api_key_file: Path | None = None
    arch: str = ""
    fp8: str = ""
    block_size: int = 0
    provider: str = "rocassay"
    engine: str = ""
    faults: tuple[str, ...] = ()
    drills: bool = False
    matrix: bool = False
    workers: int = 0
    floor: float | None = None
    drop: float | None = None
    stop: bool = True
    order_seed: int = 0
    history: str = ""
    out: Path = Path("rocassay-out")
    resume: bool = False
    as_json: bool = False

    @property
    def served(self) -> bool:
        """Whether somebody else's model answers."""
        return bool(self.url or self.in_process)


def gsm8k(wanted: Wanted) -> int:
    """Evaluate, print, store; exit code 0 iff every healthy evaluation is green."""
    _check(wanted)
    history = History(wanted.history or wanted.out / HISTORY)
    if wanted.served:
        done = [e for evaluator in _served(wanted, history) for e in _run(evaluator, wanted, history)]
    elif wanted.drills:
        done = _drilled(wanted, history)
    elif wanted.matrix:
        done = [e for arch, size in _chips(wanted) for e in _embedded(_on(wanted, arch, size), history)]
    else:
        done = [e for part in _combinations(wanted.faults) for e in _embedded(replace(wanted, faults=part), history)]
    console = Console(stderr=wanted.as_json)
    if len(done) > 1:
        print_table(console if wanted.as_json else table_console(TABLE_WIDTH), done)
    if wanted.as_json:
        Console().print_json(json.dumps([_row(evaluation) for evaluation in done]))
    console.print(f"records: {wanted.out / RESULTS}", highlight=False, soft_wrap=True)
    return exit_code(done)


def _chips(wanted: Wanted) -> list[tuple[str, int]]:
    """Every chip and page size of the embedded model, or of those that were named."""
    package: Any = importlib.import_module(EMBEDDED)
    arches = (wanted.arch,) if wanted.arch else package.ARCHES
    return [(arch, size) for arch in arches for size in ((wanted.block_size,) if wanted.block_size else package.SIZES)]


def _on(wanted: Wanted, arch: str, block_size: int) -> Wanted:
    return replace(wanted, arch=arch, block_size=block_size)


def exit_code(done: Sequence[Evaluation]) -> int:
    """0 iff every healthy evaluation is green; one that was repeated is judged by its repetition."""
    repeated = {evaluation.header.repeats for evaluation in done}
    last = [e for e in done if e.header.run_id not in repeated and not e.header.faults]
    return int(any(e.verdict is None or e.verdict.status != "green" for e in last))


def _check(wanted: Wanted) -> None:
    """Refuse what cannot be asked for before anything is opened, written or loaded."""
    _check_numbers(wanted)
    task = wanted.task or ("gsm8k" if wanted.served else "problems")
    if task not in TASKS:
        raise AccuracyError(f"there is no task {task!r}; choose {', '.join(TASKS[:-1])} or {TASKS[-1]}")
    if wanted.url and wanted.in_process:
        raise AccuracyError("--url and --in-process name two models; ask one of them at a time")
    if wanted.served and (wanted.drills or wanted.faults):
        what = "--drills" if wanted.drills else "--fault"
        raise AccuracyError(f"{what} injects defects into the embedded model; leave out --url and --in-process")
    if wanted.matrix and (wanted.served or wanted.drills or wanted.faults):
        raise AccuracyError(
            "--matrix asks the healthy embedded model on every chip; leave out --url, --drills, --fault"
        )
    if wanted.provider == "torch" and (wanted.drills or wanted.faults):
        raise AccuracyError("--provider torch has no kernels, so no defect would be injected; leave out one of the two")
    if task == "retrieval" and not wanted.served:
        raise AccuracyError("the retrieval sweep is too long for the embedded model; name a served one by --url")
    if wanted.data and task != "gsm8k":
        raise AccuracyError(f"--data names the questions of GSM8K, not of {task}; add --task gsm8k")


def _check_numbers(wanted: Wanted) -> None:
    from rocassay.harness.arch import profile
    from rocassay.harness.fp8 import format_of

    # Rules and policy say in one sentence what is wrong with a limit, a floor or a drop.
    Rules(floor=wanted.floor, limit=wanted.limit or 0)
    _adjusted(Rules(), wanted)
    if wanted.arch:
        profile(wanted.arch)
    if wanted.fp8:
        format_of(wanted.fp8)
    if wanted.block_size < 0:
        raise AccuracyError(f"block size {wanted.block_size} is not a positive number of tokens")
    if wanted.workers < 0:
        raise AccuracyError(f"{wanted.workers} processes cannot work; give a positive number, or 0 for one a core")


def _row(evaluation: Evaluation) -> dict[str, Any]:
    """What a program reads of an evaluation."""
    header, verdict = evaluation.header, evaluation.verdict
    names = {"configuration": header.configuration, "task": header.fingerprint.task, "faults": header.faults}
    return {**names, "repeats": header.repeats, **(verdict.model_dump(mode="json") if verdict else {})}


def list_suites(as_json: bool) -> int:
    """How the suites' models are served, what their selection needs, and what others scored."""
    from rocassay.harness.accuracy.served_suites import served_suites

    suites = served_suites().values()
    if as_json:
        Console().print_json(json.dumps([suite.model_dump(mode="json") for suite in suites]))
        return 0
    console = Console()
    for suite in suites:
        fewest = suite.selecting_shots or "an unknown number of"
        console.print(f"[bold]{suite.name}[/] on {' and '.join(suite.archs)}", highlight=False)
        lines = [suite.command(), f"selection decides beyond {suite.reach} prompt tokens: {fewest} shots and more"]
        for one in suite.published:
            of, found = (
                f"{one.model}, {one.shots or 'unknown'} shots",
                f"{one.accuracy} ({one.filter or 'filter unknown'}",
            )
            lines.append(f"published for {of}: {found}; {one.setting}; {one.source})")
        for line in lines:
            console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    return 0


def with_lengths(wanted: Wanted, lengths: tuple[int, ...]) -> Wanted:
    """The same with other prompt lengths of the retrieval sweep."""
    return replace(wanted, lengths=lengths)


def _combinations(faults: Sequence[str]) -> list[tuple[str, ...]]:
    """Healthy alone, or each --fault, whose parts joined by + are injected together."""
    return [tuple(text.split("+")) for text in faults] or [()]


def _run(evaluator: Evaluator, wanted: Wanted, history: History) -> list[Evaluation]:
    console = Console(stderr=wanted.as_json)
    wanted.out.mkdir(parents=True, exist_ok=True)
    evaluator.progress = Bar(Console(stderr=True), evaluator.subject)
    done = evaluator(resume=wanted.resume)
    for evaluation in done:
        print_evaluation(console, evaluation)
        history.append(evaluation)
    return done


def _embedded(wanted: Wanted, history: History) -> list[Evaluation]:
    package: Any = importlib.import_module(EMBEDDED)
    engine = wanted.engine or _best_engine()
    setting = package.Setting(
        arch=wanted.arch or "gfx950",
        fp8=wanted.fp8 or _own_flavour(wanted.arch or "gfx950"),
        block_size=wanted.block_size or 16,
        provider=wanted.provider,
        engine=engine,
        faults=wanted.faults,
    )
    slow = engine in ("interpreter", "isa") and wanted.provider != "torch"
    limit = (package.FEW if slow else 0) if wanted.limit is None else wanted.limit
    task: Task = package.task(wanted.shots) if wanted.task in ("", "problems") else _task(wanted)
    rules: Rules = package.rules(limit, stop=wanted.stop, order_seed=wanted.order_seed)
    model, subject = package.embedded(setting, wanted.workers)
    shipped = _shipped(package.baseline, subject, history)
    evaluator = Evaluator(
        model,
        task,
        subject,
        _adjusted(rules, wanted),
        wanted.out / RESULTS,
        shipped,
        repro=_repro(subject, limit, wanted),
    )
    try:
        return _run(evaluator, wanted, history)
    finally:
        model.close()


def _drilled(wanted: Wanted, history: History) -> list[Evaluation]:
    """The kernels' own drills first, then the accuracy of each chip and cache in question, healthy and with defects."""
    package: Any = importlib.import_module(EMBEDDED)
    drills: Any = package.DRILLS
    names = dict.fromkeys(name for drill in drills for name in drill.faults)
    _kernel_drills(tuple(names), wanted)
    done: list[Evaluation] = []
    for chip in dict.fromkeys((d.arch, d.fp8, d.block_size) for d in drills):
        arch, fp8, block_size = chip
        here = replace(wanted, arch=arch, fp8=fp8, block_size=block_size, faults=())
        done += _embedded(here, history)
        for drill in drills:
            if (drill.arch, drill.fp8, drill.block_size) == chip:
                done += _embedded(replace(here, faults=drill.faults), history)
    return done


def _kernel_drills(names: tuple[str, ...], wanted: Wanted) -> None:
    """What the kernels' own cases say of the same defects, appended to the records."""
    from rocassay.harness.cli.drilling import drill_faults

    apart = wanted.out / "kernel-drills"
    source, path = apart / RESULTS, wanted.out / RESULTS
    done = read(source) if wanted.resume and source.exists() else None
    if done is None or not done.ended or not set(names) <= {record.fault for record in done.drills}:
        drill_faults(Options(faults=names, engine=wanted.engine, out=apart, resume=wanted.resume), workers="auto")
        done = read(source)
    set_aside_cut_tail(path)
    there = read(path) if path.exists() and path.stat().st_size else None
    known = [*there.headers, *there.records, *there.ends] if there else []
    writer = ResultsWriter(path)
    try:
        # A kill between two lines must not double those before it.
        for line in (*done.headers, *done.records, *done.ends):
            if line not in known:
                writer.append(line)
    finally:
        writer.close()


def _served(wanted: Wanted, history: History) -> Iterator[Evaluator]:
    """An evaluation, or one a prompt length of the retrieval sweep."""
    from rocassay.harness.accuracy.served_suites import served_suite

    suite = served_suite(wanted.suite) if wanted.suite else None
    answerer = _answerer(wanted)
    subject = Subject(
        model=answerer.name,
        arch=wanted.arch,
        fp8=wanted.fp8,
        block_size=wanted.block_size,
        provider="" if wanted.provider == "rocassay" else wanted.provider,
        engine="served" if wanted.url else "vllm",
        topk=suite.reach if suite else None,
        facts=answerer.describe(),
    )
    published = suite.baseline(wanted.shots) if suite and wanted.task != "retrieval" else None
    floor = published.accuracy - BELOW_PUBLISHED if published else None
    rules = Rules(floor=floor, stop=_stop(floor, wanted.stop), order_seed=wanted.order_seed, limit=wanted.limit or 0)
    path, baseline = wanted.out / RESULTS, _accepted(subject, history)
    if wanted.task == "retrieval":
        from rocassay.harness.accuracy.retrieval import extract_code, retrieval

        for length in wanted.lengths:
            task = retrieval(length, answerer.count_tokens)
            yield Evaluator(answerer, task, subject, _adjusted(rules, wanted), path, baseline, extract=extract_code)
        return
    yield Evaluator(answerer, _task(wanted), subject, _adjusted(rules, wanted), path, baseline)


def _answerer(wanted: Wanted) -> Answerer:
    if wanted.in_process:
        from rocassay.harness.accuracy.vllm_inprocess import VllmModel

        return VllmModel(wanted.in_process)
    from rocassay.harness.accuracy.served import ServedModel, api_key_from

    return ServedModel(
        wanted.url,
        wanted.model,
        concurrency=wanted.concurrency,
        timeout=wanted.timeout,
        api_key=api_key_from(wanted.api_key_file) if wanted.api_key_file else "",
    )


def _task(wanted: Wanted) -> Task:
    if wanted.task == "problems":
        package: Any = importlib.import_module(EMBEDDED)
        return package.task(wanted.shots)
    return gsm8k_from_path(wanted.data, shots=wanted.shots) if wanted.data else gsm8k_from_hub(shots=wanted.shots)


def _adjusted(rules: Rules, wanted: Wanted) -> Rules:
    if wanted.drop is not None:
        rules = replace(rules, policy=replace(rules.policy, drop=wanted.drop))
    if wanted.floor is not None:
        rules = replace(rules, floor=wanted.floor, stop=_stop(wanted.floor, wanted.stop))
    return rules


def _stop(floor: float | None, wanted: bool) -> Sprt | None:
    """A run that is certainly well below what is declared may stop; where nothing is declared, none may."""
    return Sprt(p0=floor, p1=max(floor - DEAD_BELOW, floor / 2)) if wanted and floor else None


def _accepted(subject: Subject, history: History) -> BaselineOf:
    """The runs that somebody accepted, and the latest green ones."""

    def found(fingerprint: Fingerprint) -> tuple[Sequence[Run], Sequence[Run]]:
        configuration = configuration_of(subject)
        good = history.runs_of_baseline(configuration, fingerprint)
        return good, history.latest_green(configuration, fingerprint, RECENT)

    return found


def _shipped(shipped: Any, subject: Subject, history: History) -> BaselineOf:
    """The accepted runs, or those that the project keeps of its own model."""
    accepted = _accepted(subject, history)

    def found(fingerprint: Fingerprint) -> tuple[Sequence[Run], Sequence[Run]]:
        runs, recent = accepted(fingerprint)
        return runs or shipped(fingerprint), recent

    return found


def _best_engine() -> str:
    from rocassay.harness.choice import chosen_engine

    return chosen_engine("").name


def _own_flavour(arch: str) -> str:
    from rocassay.harness.arch import fp8_format_of

    return fp8_format_of(arch)


def _repro(subject: Subject, limit: int, wanted: Wanted) -> str:
    faults = f" --fault {'+'.join(subject.faults)}" if subject.faults else ""
    where = f"--arch {subject.arch} --fp8 {subject.fp8} --block-size {subject.block_size} --engine {subject.engine}"
    whose = "" if subject.provider == "rocassay" else f" --provider {subject.provider}"
    asked = f" --limit {limit}" + (f" --shots {wanted.shots}" if wanted.shots != Wanted().shots else "")
    asked += f" --order-seed {wanted.order_seed}" if wanted.order_seed else ""
    return f"rocassay gsm8k {where}{whose}{asked}{faults}"
