"""What dashboards read in a JUnit file: properties of every case and of the run, short and without the record itself.

pytest writes a test's user properties into its JUnit file and spells out characters that XML forbids.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rocassay.harness.results import CaseRecord, RunHeader, worst_usage

PREFIX = "rocassay."
"""Before every name, so that other plugins' properties are not mistaken for ours."""

LONGEST = 1000
"""Most characters of a value."""


def case_properties(record: CaseRecord) -> list[tuple[str, str]]:
    """Name and value of what a record says in brief; what is empty is left out."""
    worst = worst_usage(record)
    named: dict[str, object] = {
        "case": record.case,
        "op": record.op,
        "arch": record.arch,
        "fp8": record.fp8,
        "block_size": record.block_size,
        "provider": record.provider,
        "engine": record.engine,
        "tier": record.tier,
        "fault": record.fault or "",
        "status": record.status.value,
        "worst_ratio": f"{worst.share:.6g}" if worst else "",
        "worst_gate": worst.check if worst else "",
        "inputs_digest": record.digest,
        "first_wrong": record.first_wrong or "",
        "repro": record.repro,
    }
    return _properties(named.items())


def run_properties(header: RunHeader) -> list[tuple[str, str]]:
    """The same of a run: its id, commit, what computes it, and every version."""
    named = [(name, getattr(header, name)) for name in ("run_id", "commit", "tier", "provider", "engine", "device")]
    return _properties([*named, *((f"version.{name}", version) for name, version in header.versions.items())])


def _properties(named: Iterable[tuple[str, object]]) -> list[tuple[str, str]]:
    told = ((PREFIX + name, str(value)) for name, value in named)
    return [(name, value if len(value) <= LONGEST else f"{value[:LONGEST]}…") for name, value in told if value]


def tell_case(plugins: Iterable[Any], report: Any, record: CaseRecord) -> None:
    """Write properties of a case whose worker died into the JUnit file, if pytest writes one.

    pytest itself writes them at the teardown, to which the case never came.
    """
    for plugin in plugins:
        if type(plugin).__name__ == "LogXML":
            for name, value in case_properties(record):
                plugin.node_reporter(report).add_property(name, value)


def tell_suite(plugins: Iterable[Any], properties: Iterable[tuple[str, str]]) -> None:
    """Write properties of the run into the JUnit file, if pytest writes one."""
    for plugin in plugins:
        if type(plugin).__name__ == "LogXML":
            for name, value in properties:
                plugin.add_global_property(name, value)
