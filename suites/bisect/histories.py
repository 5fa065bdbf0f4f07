"""Git histories made for a test: a toy provider's kernel, broken by one planted commit."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

COMMITS = 64
SUBJECT = "softmax: shift rows by their other end"
"""Of the planted commit."""

KERNEL = '''"""Softmax of a row, revision {revision}."""
import math


def softmax(row):
    top = {top}
    weights = [math.exp(x - top) for x in row]
    return [weight / sum(weights) for weight in weights]
'''
JUDGE = """
import math, sys
sys.path.insert(0, sys.argv[1])
from kernel import softmax
row = [0.0, 711.0, 709.0]
top = math.log(math.fsum(math.exp(y - 711) for y in row)) + 711
gold = [math.exp(x - top) for x in row]
try:
    wrong = max(abs(a - b) for a, b in zip(softmax(row), gold))
except OverflowError:
    sys.exit("softmax overflows")
sys.exit(wrong > 1e-9)
"""
"""The kernel against its golden. A kernel that subtracts the least overflows."""

Files = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Repository:
    """A linear history: `commits` holds the hashes, oldest first."""

    tree: Path
    commits: tuple[str, ...]

    def git(self, *words: str) -> str:
        """What a git command prints."""
        return subprocess.run(["git", "-C", self.tree, *words], check=True, capture_output=True, text=True).stdout


def made(tree: Path, revisions: int, files: Callable[[int], Files], subject: Callable[[int], str]) -> Repository:
    """A repository whose revision i = 0, 1, ... holds `files(i)`, with nothing checked out but the last one."""
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", tree], check=True)
    stream = "".join(_commit(revision, files(revision), subject(revision)) for revision in range(revisions))
    command = ["git", "-C", tree, "fast-import", "--quiet"]
    subprocess.run(command, input=stream.encode(), check=True, capture_output=True)
    repository = Repository(tree, ())
    repository.git("reset", "--hard", "--quiet", "main")
    return Repository(tree, tuple(repository.git("rev-list", "--reverse", "main").split()))


def _commit(revision: int, files: Files, subject: str) -> str:
    head = f"commit refs/heads/main\ncommitter A Developer <a@example.org> {1_700_000_000 + revision} +0000\n"
    changes = "".join(f"M 100644 inline {name}\n{_data(text)}" for name, text in files.items())
    return head + _data(subject) + ("" if revision else "deleteall\n") + changes


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"


def toy(tree: Path, planted: int, broken: range = range(0)) -> Repository:
    """64 revisions of the toy kernel; from `planted` on it subtracts a row's least; `broken` ones do not import."""

    def files(revision: int) -> Files:
        text = KERNEL.format(revision=revision, top="max(row)" if revision < planted else "min(row)")
        return {"kernel.py": text if revision not in broken else "def softmax(:\n"}

    def subject(revision: int) -> str:
        return SUBJECT if revision == planted else f"softmax: revision {revision}"

    return made(tree, COMMITS, files, subject)


def provider(tree: Path, revisions: int, planted: int, op: str, formula: str, mistake: str) -> Repository:
    """Revisions of a provider package whose kernel for `op` is `formula`, and the `mistake` from `planted` on."""

    def files(revision: int) -> Files:
        line = formula if revision < planted else mistake
        return {
            "mine.py": f"import torch\n\n\n{line}\n\n\nOPS = {{{op!r}: kernel}}\nREVISION = {revision}\n" + _PROVIDER,
            "mine-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: mine\nVersion: 1\n",
            "mine-1.dist-info/entry_points.txt": "[rocassay.providers]\nmine = mine:PROVIDER\n",
        }

    return made(tree, revisions, files, lambda revision: f"mine: revision {revision}")


_PROVIDER = """from rocassay.harness.providers import Function, Functions

PROVIDER = Functions("mine", {name: Function(run) for name, run in OPS.items()})
"""
