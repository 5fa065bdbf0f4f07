"""What computed in two runs: versions of packages, the device and the commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rocassay.harness.results import Assay


@dataclass(frozen=True, slots=True)
class VersionChange:
    """Something that computed and that is not the same in both runs."""

    name: str
    """Package, `device` or `commit`."""
    base: tuple[str, ...]
    """Every value in the base, in order of appearance; empty: none was recorded."""
    head: tuple[str, ...]
    """Every value in the head."""


def versions_of(assay: Assay) -> dict[str, tuple[str, ...]]:
    """Every value of everything that computed, by name."""
    lines = [*assay.headers, *assay.records, *(found.header for found in assay.evaluations.values())]
    found: dict[str, dict[str, None]] = {}
    for line in lines:
        for name, value in {**line.versions, "device": line.device, "commit": line.commit}.items():
            if value:
                found.setdefault(name, {})[value] = None
    return {name: tuple(values) for name, values in found.items()}


def version_changes(base: Assay, head: Assay) -> tuple[VersionChange, ...]:
    """What differs, commit and device first, packages by name."""
    before, after = versions_of(base), versions_of(head)
    names = sorted(before.keys() | after.keys(), key=lambda name: (name != "commit", name != "device", name))
    return tuple(
        VersionChange(name, _at(before, name), _at(after, name))
        for name in names
        if set(_at(before, name)) != set(_at(after, name))
    )


def _at(values: Mapping[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
    return values.get(name, ())
