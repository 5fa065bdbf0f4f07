"""vLLM's ROCm kernels: the Triton operations of its sparse MLA, and its compiled ones where there is a ROCm device."""

from __future__ import annotations

from rocassay.harness.providers.foreign import Foreign
from rocassay.harness.providers.trees import Project
from rocassay.suites.providers.vllm import attention, caches, decode, indexer, ragged, rope
from rocassay.suites.providers.vllm.machine import world

PROJECT = Project("vllm", "vllm", "v1/attention/ops/rocm_aiter_mla_sparse.py")
ADAPTERS = {
    **indexer.ADAPTERS,
    **caches.ADAPTERS,
    **attention.ADAPTERS,
    **decode.ADAPTERS,
    **ragged.ADAPTERS,
    **rope.ADAPTERS,
}


def provider(source: str = "") -> Foreign:
    """vLLM's kernels out of an installed vLLM, a tree or a wheel."""
    return Foreign(PROJECT, source, ADAPTERS, world, divergences=__name__)


PROVIDER = provider
