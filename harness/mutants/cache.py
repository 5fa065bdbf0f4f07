"""A compiler's cache of one process: thousands of mutants would fill the user's own."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


class OwnCache:
    """Triton's cache in a folder of this process, which ends with it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rocassay-mutants-")
        self._kept = frozenset[str]()
        os.environ["TRITON_CACHE_DIR"] = self._folder.name

    def keep(self) -> None:
        """What is there now stays."""
        self._kept = frozenset(self._names())

    def prune(self) -> None:
        """Remove what has come since."""
        for name in set(self._names()) - self._kept:
            shutil.rmtree(Path(self._folder.name, name), ignore_errors=True)

    def _names(self) -> list[str]:
        return [path.name for path in Path(self._folder.name).iterdir()]
