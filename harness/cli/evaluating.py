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
from rocassay.harness.accuracy.verdict import Policy
from rocassay.harness.cli.answering import Bar, print_evaluation, print_table
from rocassay.harness.options import RESULTS
from rocassay.harness.results import Evaluation, Fingerprint, ResultsWriter, read

EMBEDDED = "rocassay.suites.gsm8k.evaluation"
"""Module that holds the embedded model; the harness itself knows no model."""

BELOW_PUBLISHED = 0.03
"""How far below a published figure a served model's floor is: what 1319 questions prove of a run that equals it."""

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
    history = History(wanted.history or wanted.out / "history.sqlite")
    if wanted.drills and wanted.served:
        raise AccuracyError("--drills injects defects into the embedded model; leave out --url and --in-process")
    if wanted.served:
        done = [e for evaluator in _served(wanted, history) for e in _run(evaluator, wanted, history)]
    elif wanted.drills:
        done = _drilled(wanted, history)
    else:
        done = [e for part in _combinations(wanted.faults) for e in _embedded(replace(wanted, faults=part), history)]
    console = Console(stderr=wanted.as_json)
    if len(done) > 1:
        print_table(console, done)
    if wanted.as_json:
        Console().print_json(json.dumps([e.verdict.model_dump(mode="json") for e in done if e.verdict]))
    console.print(f"records: {wanted.out / RESULTS}", highlight=False, soft_wrap=True)
    # A repeated run is judged by its last part.
    last = {(e.header.configuration, e.header.faults): e for e in done}
    return int(any(e.verdict is None or e.verdict.status != "green" for e in last.values() if not e.header.faults))


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
        history.append(evaluation)
        print_evaluation(console, evaluation)
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
    slow = engine == "interpreter" and wanted.provider != "torch"
    limit = (package.FEW if slow else 0) if wanted.limit is None else wanted.limit
    task: Task = package.task(wanted.shots) if wanted.task in ("", "problems") else _task(wanted)
    rules: Rules = package.rules(limit, stop=wanted.stop, order_seed=wanted.order_seed)
    model, subject = package.embedded(setting, wanted.workers)
    shipped = _shipped(package.baseline, subject, history)
    evaluator = Evaluator(
        model, task, subject, _adjusted(rules, wanted), wanted.out / RESULTS, shipped, repro=_repro(subject, limit)
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
    from rocassay.harness.cli.running import drill_faults
    from rocassay.harness.options import Options

    path = wanted.out / RESULTS
    if path.exists() and set(names) <= {record.fault for record in read(path).drills}:
        return
    apart = wanted.out / "kernel-drills"
    drill_faults(Options(faults=names, engine=wanted.engine, out=apart), workers="auto")
    found = read(apart / RESULTS)
    writer = ResultsWriter(path)
    for line in (*found.headers, *found.records, *found.ends):
        writer.append(line)
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
    if wanted.task not in ("", "gsm8k"):
        raise AccuracyError(f"there is no task {wanted.task!r}; choose problems, gsm8k or retrieval")
    return gsm8k_from_path(wanted.data, shots=wanted.shots) if wanted.data else gsm8k_from_hub(shots=wanted.shots)


def _adjusted(rules: Rules, wanted: Wanted) -> Rules:
    floor = rules.floor if wanted.floor is None else wanted.floor
    policy = rules.policy if wanted.drop is None else Policy(drop=wanted.drop)
    return replace(rules, floor=floor, policy=policy)


def _stop(floor: float | None, wanted: bool) -> Sprt | None:
    """A run that is certainly five points below what is declared may stop."""
    return Sprt(p0=floor, p1=floor - 0.05) if wanted and floor else Sprt() if wanted else None


def _accepted(subject: Subject, history: History) -> BaselineOf:
    """The runs that somebody accepted, and the latest green ones."""

    def found(fingerprint: Fingerprint) -> tuple[Sequence[Run], Sequence[Run]]:
        configuration = _configuration(subject)
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


def _configuration(subject: Subject) -> str:
    parts = [subject.model, subject.arch, subject.fp8, f"bs{subject.block_size}" if subject.block_size else ""]
    return " ".join(part for part in (*parts, subject.kv_dtype, subject.provider, subject.engine) if part)


def _best_engine() -> str:
    from rocassay.harness.controller import chosen_engine

    return chosen_engine("").name


def _own_flavour(arch: str) -> str:
    from rocassay.harness.arch import fp8_format_of

    return fp8_format_of(arch)


def _repro(subject: Subject, limit: int) -> str:
    faults = f" --fault {'+'.join(subject.faults)}" if subject.faults else ""
    where = f"--arch {subject.arch} --fp8 {subject.fp8} --block-size {subject.block_size} --engine {subject.engine}"
    whose = "" if subject.provider == "rocassay" else f" --provider {subject.provider}"
    return f"rocassay gsm8k {where}{whose} --limit {limit}{faults}"
