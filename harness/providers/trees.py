"""Where another project's code lies: an installed distribution, an unpacked tree, or a wheel that nobody installed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from rocassay.harness.errors import RocassayError

UNKNOWN = "unknown"
"""Version of a tree that does not say; no range of a ledger contains it."""

_VERSION = re.compile(r"^Version: *(\S+)", re.MULTILINE)
_NAME = re.compile(r"^Name: *(\S+)", re.MULTILINE)


class BadSource(RocassayError, ValueError):
    """What `--source` names does not hold the code that was asked for."""


@dataclass(frozen=True, slots=True)
class Project:
    """Another project, as it is distributed."""

    package: str
    """Its import package."""
    distribution: str
    """Name of its distribution on the package index."""
    marker: str | tuple[str, ...]
    """A file within the package that only this project has, or several of which each release has one at least."""
    stranger: str = ""
    """What a package of the same name without the marker probably is."""

    def problem(self, tree: Tree) -> str | None:
        """Why the tree is not the project's, in words, or None."""
        markers = (self.marker,) if isinstance(self.marker, str) else self.marker
        if any(tree.holds(f"{self.package}/{marker}") for marker in markers):
            return None
        if not tree.holds(f"{self.package}/__init__.py"):
            return f"{tree.where} holds no package {self.package}; {self._advice}"
        found = f"{tree.name or self.package} {tree.version}" + (f", {self.stranger}" if self.stranger else "")
        return f"{tree.where} holds {found}, without {' or '.join(markers)}; {self._advice}"

    @property
    def _advice(self) -> str:
        return f"name a tree or a wheel of {self.distribution} by --source, or install it"


class Tree:
    """Files of a distribution, by their paths within it."""

    where: str
    """What it is, for messages."""

    def holds(self, path: str) -> bool:
        """Whether there is such a file."""
        raise NotImplementedError

    def file(self, path: str) -> Path:
        """The file on disk; BadSource when there is none."""
        raise NotImplementedError

    def text(self, path: str) -> str | None:
        """What a file says, None when there is none; bytes that are no UTF-8 are replaced."""
        return self.file(path).read_text(encoding="utf-8", errors="replace") if self.holds(path) else None

    def metadata(self) -> str:
        """The distribution's METADATA, or an empty text."""
        raise NotImplementedError

    def is_installed(self, package: str) -> bool:  # noqa: ARG002
        """Whether `import package` imports from here."""
        return False

    @property
    def version(self) -> str:
        """Version of the distribution, `unknown` where it does not say."""
        found = _VERSION.search(self.metadata())
        return found.group(1) if found else UNKNOWN

    @property
    def name(self) -> str:
        """Name of the distribution, or an empty text."""
        found = _NAME.search(self.metadata())
        return found.group(1) if found else ""


class Nowhere(Tree):
    """The tree of a package that is not installed."""

    def __init__(self, package: str) -> None:
        self.where = f"{package} is not installed: this environment"

    def holds(self, path: str) -> bool:  # noqa: ARG002
        """It holds nothing."""
        return False

    def file(self, path: str) -> Path:
        """There is none."""
        raise BadSource(f"{self.where} has no {path}; name a tree or a wheel by --source")

    def metadata(self) -> str:
        """It has none."""
        return ""


class Folder(Tree):
    """A folder that holds import packages."""

    def __init__(self, root: Path, distribution: str = "") -> None:
        """`distribution`: whose metadata to read where the folder is that of installed packages."""
        self.where = str(root)
        self._root, self._distribution = root, distribution

    def holds(self, path: str) -> bool:
        """Whether the folder has the file."""
        return (self._root / path).is_file()

    def file(self, path: str) -> Path:
        """The file itself."""
        if not self.holds(path):
            raise BadSource(f"{self.where} has no {path}; is it another version? name one that has it by --source")
        return self._root / path

    def is_installed(self, package: str) -> bool:
        """Whether the folder is where Python finds the package."""
        place = _place(package)
        return place is not None and place.resolve() == self._root.resolve()

    def metadata(self) -> str:
        """Of the installed distribution, or of the only one unpacked here."""
        if self._distribution:
            try:
                return importlib.metadata.distribution(self._distribution).read_text("METADATA") or ""
            except importlib.metadata.PackageNotFoundError:
                return ""
        found = sorted(self._root.glob("*.dist-info/METADATA"))
        return found[0].read_text(encoding="utf-8", errors="replace") if len(found) == 1 else ""


class Wheel(Tree):
    """A wheel file; what is needed of it is unpacked into the user's cache, file by file."""

    def __init__(self, path: Path) -> None:
        """BadSource when the file is no wheel."""
        self.where = str(path)
        try:
            self._archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise BadSource(f"{path} is no wheel that can be read ({error}); name another one by --source") from error
        status = path.stat()
        key = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}".encode()
        self._folder_name = f"{path.name.removesuffix('.whl')}-{hashlib.blake2b(key, digest_size=6).hexdigest()}"

    def holds(self, path: str) -> bool:
        """Whether the wheel has the file."""
        return path in self._names

    def file(self, path: str) -> Path:
        """The file in the cache, unpacked if it was not there yet."""
        if not self.holds(path):
            raise BadSource(f"{self.where} has no {path}; is it another version? name one that has it by --source")
        target = self._folder / PurePosixPath(path)
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            # Several workers may unpack it at the same time: each replaces it by the same bytes as a whole.
            with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as stream:
                stream.write(self._archive.read(path))
            Path(stream.name).replace(target)
        return target

    def text(self, path: str) -> str | None:
        """Read in the archive, for it is no reason to unpack a file that somebody asks for its signatures."""
        return self._archive.read(path).decode("utf-8", errors="replace") if self.holds(path) else None

    def metadata(self) -> str:
        """Of the one distribution in it."""
        found = [name for name in self._names if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
        return self._archive.read(found[0]).decode(errors="replace") if found else ""

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self._archive.namelist())

    @cached_property
    def _folder(self) -> Path:
        return next(folder for folder in _caches(self._folder_name) if _writable(folder))


def _caches(name: str) -> Iterator[Path]:
    """Places for unpacked wheels, the best first; the last one is new and private."""
    yield Path.home() / ".cache" / "rocassay" / "trees" / name
    yield Path(tempfile.mkdtemp(prefix=f"rocassay-{name}-"))


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def tree_of(project: Project, source: str = "") -> Tree:
    """The tree that `source` names, or the installed one; BadSource when a named one is not the project's."""
    if not source:
        return _installed(project)
    path = Path(source).expanduser()
    if path.is_file():
        found: Tree = Wheel(path)
    elif path.is_dir():
        found = Folder(path if (path / project.package).is_dir() or path.name != project.package else path.parent)
    else:
        raise BadSource(f"there is no {source}; name a tree or a wheel of {project.distribution} by --source")
    if problem := project.problem(found):
        raise BadSource(problem)
    return found


def _installed(project: Project) -> Tree:
    place = _place(project.package)
    return Folder(place, _owner(project)) if place else Nowhere(project.package)


def _place(package: str) -> Path | None:
    """Folder that holds the package that `import` would find, which is not imported."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))).parent if places else None


def _owner(project: Project) -> str:
    """The distribution that installed the package: the project's, or whoever has its name."""
    owners = importlib.metadata.packages_distributions().get(project.package, [])
    return project.distribution if project.distribution in owners or not owners else owners[0]
