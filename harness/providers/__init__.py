"""Whose implementation is judged."""

from __future__ import annotations

from rocassay.harness.providers.provider import Provider, UnknownProvider, provider, provider_names

__all__ = ["Provider", "UnknownProvider", "provider", "provider_names"]
