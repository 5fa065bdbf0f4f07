"""The base of what watches torch's calls."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class Watch(TorchDispatchMode):
    """A dispatch mode that leaves torch's compiler out: asked to skip its frames, torch would import it first.

    That takes every process two seconds, at its first launch, and nothing here is ever compiled by torch.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
