"""Past failures: cases that were red once and are judged in every tier since.

A corpus is a file beside the declarations of a package: one case id a line, `#` before what a case once found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

from rocassay.harness.cases import Case
from rocassay.harness.errors import RocassayError

CORPUS = "corpus.txt"
"""Name of the file in a package that declares ops."""


class BadCorpus(RocassayError, ValueError):
    """A line of a corpus that names no case of any op."""


def past_failures(packages: Iterable[str], ops: frozenset[str]) -> list[Case]:
    """Cases of the packages' corpora; BadCorpus names a line that does not parse or whose op is not among `ops`."""
    found: list[Case] = []
    for package in packages:
        file = resources.files(package) / CORPUS
        if file.is_file():
            found += _cases(f"{package}/{CORPUS}", file.read_text(encoding="utf-8"), ops)
    return list(dict.fromkeys(found))


def _cases(where: str, text: str, ops: frozenset[str]) -> Iterator[Case]:
    for number, line in enumerate(text.splitlines(), start=1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        try:
            case = Case.parse(name)
        except RocassayError as error:
            raise BadCorpus(f"{where}: line {number}: {error}") from error
        if case.op not in ops:
            raise BadCorpus(f"{where}: line {number} is a case of {case.op}, which no package declares; remove it")
        yield case


def keep(corpus: Path, case: str, found: str) -> bool:
    """Append a case and what it found, in one line of words; False when the corpus holds it already."""
    held = corpus.read_text(encoding="utf-8") if corpus.exists() else ""
    if case in {line.partition("#")[0].strip() for line in held.splitlines()}:
        return False
    said = " ".join(found.split())
    with corpus.open("a", encoding="utf-8") as stream:
        stream.write(f"{'' if not held or held.endswith(chr(10)) else chr(10)}\n# {said}\n{case}\n")
    return True
