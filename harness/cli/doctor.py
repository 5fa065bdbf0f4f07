"""`rocassay doctor`: what this machine can judge, and what is in the way."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at."""

    thing: str
    ok: bool
    finding: str
    advice: str = ""


def examine(*, as_json: bool) -> int:
    """Print the findings; exit code 1 iff no engine can run."""
    findings = [*_engines(), *_packages(), _node()]
    if as_json:
        Console().print_json(json.dumps([asdict(finding) for finding in findings]))
    else:
        table = Table("", "what", "found", "what to do")
        for finding in findings[:-1]:
            mark = "[green]ok[/]" if finding.ok else "[yellow]--[/]"
            table.add_row(mark, finding.thing, finding.finding, finding.advice)
        Console().print(table)
        node = findings[-1]
        Console().print(f"{node.thing}: {node.finding}", highlight=False, markup=False, soft_wrap=True)
    return 0 if any(finding.ok for finding in findings if finding.thing.startswith("engine")) else 1


def _engines() -> list[Diagnosis]:
    from rocassay.harness.arch import PROFILES
    from rocassay.harness.engines.base import ENGINE_NAMES, engine

    found: list[Diagnosis] = []
    for name in ENGINE_NAMES:
        chosen = engine(name)
        reasons = {arch: chosen.unavailable(arch, profile.fp8) for arch, profile in PROFILES.items()}
        able = [arch for arch, reason in reasons.items() if reason is None]
        why = next((reason for reason in reasons.values() if reason), "")
        described = ", ".join(f"{k} {v}" for k, v in chosen.describe().items()) if able else why
        advice = "" if able else "the other engines judge without it"
        found.append(Diagnosis(f"engine {name}", bool(able), described, advice))
    return found


def _packages() -> list[Diagnosis]:
    found: list[Diagnosis] = []
    for name, purpose in (
        ("torch", ""),
        ("triton", ""),
        ("amd-aiter", "provider aiter and the judgement of AITER's own planners"),
        ("lm-eval", "GSM8K suites"),
        ("ray", "runs on several machines, `rocassay run --ray`"),
    ):
        version = _version(name)
        advice = "" if version else f"needed only for {purpose}" if purpose else "install it: nothing runs without"
        found.append(Diagnosis(name, version is not None, version or "not installed", advice))
    if _version("aiter") and not _version("amd-aiter"):
        advice = "the distribution `aiter` is an async-iterator package; AMD's kernels are `pip install amd-aiter`"
        found.append(Diagnosis("aiter", False, f"aiter {_version('aiter')} is not AMD's", advice))
    return found


def _node() -> Diagnosis:
    """How this machine joins a cluster that judges."""
    from rocassay.harness.cluster.needs import announced, start_command

    return Diagnosis("as a node of a Ray cluster", True, start_command(announced()))


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
