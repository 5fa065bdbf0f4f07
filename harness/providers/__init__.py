"""Whose implementation is judged."""

from __future__ import annotations

from rocassay.harness.providers.finding import BadProvider, UnknownProvider, foreign_names, provider, provider_names
from rocassay.harness.providers.functions import Function, Functions, Gap, Offer
from rocassay.harness.providers.provider import Provider

__all__ = [
    "BadProvider",
    "Function",
    "Functions",
    "Gap",
    "Offer",
    "Provider",
    "UnknownProvider",
    "foreign_names",
    "provider",
    "provider_names",
]
