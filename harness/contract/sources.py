"""Where the files of a package lie: a wheel, a folder, or an installed distribution; read, never imported."""

from __future__ import annotations

import email.parser
import importlib.metadata
import importlib.util
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from rocassay.harness.contract.declared import Contract
from rocassay.harness.contract.errors import ContractError

SKIPPED = re.compile(r"(^|/)(\.|__pycache__/|3rdparty/|third_party/)")
"""Paths that hold no source of the package's own."""

LARGEST = 4 << 20
"""Bytes of a file beyond which it is data, not source."""


class Files(Protocol):
    """Read access to a tree of files, by relative path with slashes."""

    def text(self, path: str) -> str | None:
        """What a file says, bytes that are no UTF-8 replaced; None if it is not there or not small."""
        ...

    def below(self, folder: str) -> Iterable[str]:
        """Paths of the files in a folder, at any depth."""
        ...


class Folder:
    """Files of a folder on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, path: str) -> str | None:
        """See Files."""
        file = self.root / path
        if not file.is_file() or file.stat().st_size > LARGEST:
            return None
        return file.read_text(encoding="utf-8", errors="replace")

    def below(self, folder: str) -> Iterable[str]:
        """See Files."""
        found = (self.root / folder).rglob("*")
        paths = (path.relative_to(self.root).as_posix() for path in sorted(found) if path.is_file())
        return [path for path in paths if not SKIPPED.search(path)]


class Wheel:
    """Files of a wheel that was never installed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise ContractError(f"{path} cannot be read as a wheel: {error}; pass a .whl file or a folder") from error
        self._sizes = {each.filename: each.file_size for each in self._zip.infolist()}

    def text(self, path: str) -> str | None:
        """See Files; ContractError where the archive is damaged."""
        if self._sizes.get(path, LARGEST + 1) > LARGEST:
            return None
        try:
            return self._zip.read(path).decode("utf-8", "replace")
        except zipfile.BadZipFile as error:
            raise ContractError(f"{self.path} is damaged: {error}; download it again") from error

    def below(self, folder: str) -> Iterable[str]:
        """See Files."""
        start = f"{folder}/" if folder else ""
        return [path for path in sorted(self._sizes) if path.startswith(start) and not SKIPPED.search(path)]


@dataclass(frozen=True)
class Source:
    """A version of a package: its files and what it calls itself."""

    label: str
    """What was asked for."""
    files: Files
    distribution: str = ""
    version_text: str = ""

    @cached_property
    def version(self) -> Version | None:
        """Its version; None where nothing says it."""
        try:
            return Version(self.version_text)
        except InvalidVersion:
            return None

    def __str__(self) -> str:
        name = " ".join(filter(None, (self.distribution, self.version_text or "of unknown version")))
        return f"{name} ({self.label})"


def open_source(given: str, contract: Contract, version: str = "") -> Source:
    """The source that a word names: a wheel, a folder, or the distribution if it is installed.

    `version` replaces what the source says of itself. ContractError if it does not hold the contract's package.
    """
    path = Path(given)
    if path.is_dir():
        source = _of_folder(path, contract)
    elif path.is_file():
        source = _of_wheel(path)
    elif canonicalize_name(given) in (contract.package, canonicalize_name(contract.distribution)):
        source = _of_installation(given, contract)
    else:
        what = f"a wheel, a folder, or {contract.distribution} for the installed one"
        raise ContractError(f"there is no {given!r}; pass {what}")
    _recognise(source, contract)
    if version and Source("", source.files, version_text=version).version is None:
        raise ContractError(f"{version!r} is no version; write e.g. 0.1.20")
    return Source(given, source.files, source.distribution, version or source.version_text)


def _of_wheel(path: Path) -> Source:
    if not zipfile.is_zipfile(path) or path.suffix != ".whl":
        raise ContractError(f"{path} is no wheel; pass a .whl file, or the folder into which it was unpacked")
    files = Wheel(path)
    metadata = next((each for each in files.below("") if each.endswith(".dist-info/METADATA")), "")
    return Source(str(path), files, *_named(files.text(metadata) or ""))


def _of_folder(path: Path, contract: Contract) -> Source:
    """A folder that holds the package, at its top or in src/, or that is the package itself."""
    for root in (path, path / "src", path.parent if path.name == contract.package else path):
        if (root / contract.package / "__init__.py").is_file():
            found = Folder(root)
            return Source(str(path), found, *_described(root, found, contract))
    return Source(str(path), Folder(path))


def _described(root: Path, files: Folder, contract: Contract) -> tuple[str, str]:
    """(name, version) that the metadata beside a package give, or that its own files do."""
    spelt = re.sub(r"[-_.]+", "[-_.]", contract.distribution)
    known = (spelt, *(re.sub(r"[-_.]+", "[-_.]", each.distribution) for each in contract.lookalikes))
    for folder in sorted(root.glob("*-info")):
        if any(re.match(rf"{name}[-.]", folder.name, re.IGNORECASE) for name in known):
            file = "METADATA" if folder.name.endswith(".dist-info") else "PKG-INFO"
            return _named(files.text(f"{folder.name}/{file}") or "")
    if text := files.text("PKG-INFO"):
        return _named(text)
    for name in ("_version.py", "__init__.py"):
        own = files.text(f"{contract.package}/{name}") or ""
        if found := re.search(r"^_*version_* *= *(?:version *= *)?['\"]([^'\"]+)", own, re.MULTILINE):
            return "", found[1]
    return "", ""


def _named(metadata: str) -> tuple[str, str]:
    fields = email.parser.HeaderParser().parsestr(metadata)
    return fields.get("Name", ""), fields.get("Version", "")


def _of_installation(given: str, contract: Contract) -> Source:
    for name in (contract.distribution, *(each.distribution for each in contract.lookalikes)):
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return Source(given, Folder(_root(found, contract.package)), found.metadata["Name"], found.version)
    raise ContractError(f"{contract.distribution} is not installed here; install it, or pass a wheel or a folder")


def _root(found: importlib.metadata.Distribution, package: str) -> Path:
    """Folder that holds an installed package; that of an editable installation is where its finder points."""
    root = Path(str(found.locate_file("")))
    if (root / package).is_dir():
        return root
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))).parent if places else root


def _recognise(source: Source, contract: Contract) -> None:
    """ContractError unless the source is the package that the contract means."""
    package, files = contract.package, source.files
    mine = any(files.text(f"{package}/{sign}") is not None for sign in contract.signs)
    for other in contract.lookalikes:
        named = canonicalize_name(source.distribution or "-") == canonicalize_name(other.distribution)
        if named or (not mine and files.text(f"{package}/{other.sign}") is not None):
            raise ContractError(
                f"{source.label} is the distribution {other.distribution!r}, {other.what}; "
                f"what is meant is {contract.distribution!r}, which is imported as {package}, too"
            )
    if files.text(f"{package}/__init__.py") is None:
        raise ContractError(f"{source.label} holds no package {package}; pass a version of {contract.distribution}")
    if not mine:
        signs = " nor ".join(contract.signs)
        raise ContractError(
            f"the package {package} in {source.label} has no {signs}: it is not {contract.distribution}; "
            f"pass a version of {contract.distribution}"
        )
