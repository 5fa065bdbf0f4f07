"""What a node of a cluster announces, and what a case needs: names of custom resources.

A node that can judge without a GPU announces the engine (`rocassay:interpreter`, `rocassay:isa`), one with a GPU each
architecture that its device stands for (`rocassay:gfx942`); the amount is how many cases it judges at a time. A
provider that does not come with this package is announced by its name (`rocassay:aiter`).
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

PREFIX = "rocassay:"
"""Before every name, so that it is not mistaken for a resource of something else."""

ON_A_GPU = "device"
"""The engine whose cases need a node with their architecture; for every other one any node with the engine will do."""

EVERYWHERE = frozenset({"rocassay", "torch"})
"""Providers that come with this package: no node has to announce them."""

Needs: TypeAlias = frozenset[str]
"""Names of resources, all of which a node must have."""


def needs_of(engine: str, provider: str, arch: str) -> Needs:
    """What a node needs to judge cases of an architecture."""
    place = arch if engine == ON_A_GPU else engine
    return frozenset(PREFIX + name for name in (place, provider) if name not in EVERYWHERE)


def offers_of(resources: Mapping[str, float]) -> Needs:
    """What a node with these resources has for cases."""
    return frozenset(name for name, amount in resources.items() if name.startswith(PREFIX) and amount >= 1)


def places_of(resources: Mapping[str, float], engine: str, provider: str, arches: Iterable[str]) -> dict[str, int]:
    """Resource -> how many cases at a time, of those by which a node is one for this run; empty if it is none."""
    offers = offers_of(resources)
    needed = {PREFIX + (arch if engine == ON_A_GPU else engine) for arch in arches}
    places = {name: int(resources[name]) for name in sorted(needed & offers)}
    return places if provider in EVERYWHERE or PREFIX + provider in offers else {}


def announced() -> dict[str, int]:
    """What this machine should announce as a node: its engines or architectures, and its providers."""
    from rocassay.harness.arch import PROFILES
    from rocassay.harness.engines.base import ENGINE_NAMES, engine

    found: dict[str, int] = {}
    for name in ENGINE_NAMES:
        chosen = engine(name)
        able = [arch for arch, profile in PROFILES.items() if chosen.unavailable(arch, profile.fp8) is None]
        if name == ON_A_GPU:
            found |= {PREFIX + arch: _gpus() for arch in able}
        elif able:
            found[PREFIX + name] = os.cpu_count() or 1
    most = max(found.values(), default=0)
    return found | {PREFIX + name: most for name in _providers()}


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _providers() -> Iterator[str]:
    """Providers that can run something here and that not every node has."""
    from rocassay.harness.errors import RocassayError
    from rocassay.harness.ops import discover
    from rocassay.harness.providers import provider, provider_names

    for name in sorted({*provider_names()} - EVERYWHERE):
        first = [(op, case) for op in discover() for case in list(op.cases("quick"))[:1]]
        try:
            found = provider(name)
        except (RocassayError, ImportError):
            continue
        if any(found.declines(op, case) is None and found.unavailable(op, case) is None for op, case in first):
            yield name


def start_command(resources: Mapping[str, int]) -> str:
    """Command by which this machine joins a cluster; HEAD stands for the head node's name."""
    return f"ray start --address=HEAD:6379 --resources={shlex.quote(json.dumps(dict(resources)))}"
