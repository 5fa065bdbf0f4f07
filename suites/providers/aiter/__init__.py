"""AITER's kernels: its Triton operations anywhere, and its HIP and assembly ones where there is a ROCm device."""

from __future__ import annotations

from rocassay.harness.providers.foreign import Foreign
from rocassay.harness.providers.trees import Project
from rocassay.suites.providers.aiter import binaries, decode, kernels, prefill, sparse
from rocassay.suites.providers.aiter.machine import world

MARKERS = ("ops/triton/attention/pa_mqa_logits.py", "ops/triton/pa_mqa_logits.py")
STRANGER = "which is the package of asynchronous iterators and not AMD's"
PROJECT = Project("aiter", "amd-aiter", MARKERS, STRANGER)
ADAPTERS = {**kernels.ADAPTERS, **sparse.ADAPTERS, **binaries.ADAPTERS, **decode.ADAPTERS, **prefill.ADAPTERS}


def provider(source: str = "") -> Foreign:
    """AITER's kernels out of an installed AITER, a tree or a wheel."""
    return Foreign(PROJECT, source, ADAPTERS, world, divergences=__name__)


PROVIDER = provider
