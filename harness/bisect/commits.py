"""Commits of a git tree as points: a linear history, checked out one at a time into a worktree of its own."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rocassay.harness.bisect.errors import BisectError, CannotJudge
from rocassay.harness.bisect.points import Point
from rocassay.harness.bisect.running import Run, outside_git, tail_of

_FIELDS = "%H%x1f%s%x1f%an%x1f%aI"
"""Hash, subject, author and date of a commit, between unit separators, which no subject holds."""


class Commits:
    """The commits after the good one up to the bad one, oldest first, behind the good one itself."""

    def __init__(
        self,
        tree: Path,
        good: str,
        bad: str,
        worktree: Path,
        *,
        every: bool = False,
        touching: Sequence[str] = (),
        prepare: str = "",
        run: Run | None = None,
    ) -> None:
        """List them; nothing is checked out yet.

        tree: a checkout or bare repository, which is left as it is. worktree: folder for the checkouts. every: also
        commits that came in by a merge, in an order in which parents stand before children; else only first parents.
        touching: only commits that change one of these paths. prepare: shell command that is run in each checkout; one
        that fails means that the commit cannot be judged. Raises BisectError when there is no such history.
        """
        self.tree, self._worktree, self._prepare, self._run = tree.resolve(), worktree.resolve(), prepare, run or Run()
        first, last = self._commit(good, "--good"), self._commit(bad, "--bad")
        if first == last or self._git("merge-base", "--is-ancestor", first, last).returncode:
            raise BisectError(
                f"the good end {good} is no ancestor of the bad end {bad} in {tree}; give an older good commit, "
                f"such as `git merge-base {good} {bad}`"
            )
        self._points = self._listed(first, last, every, touching)

    @property
    def points(self) -> tuple[Point, ...]:
        """The good commit, and those after it up to the bad one."""
        return self._points

    def _git(self, *words: str, where: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(where or self.tree), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=outside_git())  # noqa: S603

    def _said(self, *words: str, where: Path | None = None) -> str:
        done = self._git(*words, where=where)
        if done.returncode:
            problem = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise BisectError(f"`git {shlex.join(words)}` in {where or self.tree} failed: {problem[-1]}; mend the tree")
        return done.stdout

    def _commit(self, name: str, option: str) -> str:
        done = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if done.returncode or not name:
            raise BisectError(f"{option} {name or '(nothing)'} is no commit of {self.tree}; give a hash, tag or branch")
        return done.stdout.strip()

    def _listed(self, first: str, last: str, every: bool, touching: Sequence[str]) -> tuple[Point, ...]:
        order = ["--topo-order"] if every else ["--first-parent"]
        paths = ["--", *touching] if touching else []
        log = self._said("log", "--reverse", *order, f"--format={_FIELDS}", f"{first}..{last}", *paths)
        ends = self._said("log", "--no-walk=unsorted", f"--format={_FIELDS}", first, last)
        good, bad = (Point(*line.split("\x1f")) for line in ends.splitlines())
        between = [Point(*line.split("\x1f")) for line in log.splitlines()]
        return (good, *(point for point in between if point.name != last), bad)

    def at(self, point: Point) -> Path:
        """Check the commit out, exactly as it is in git, and prepare it."""
        if (self._worktree / ".git").exists():
            self._said("checkout", "--quiet", "--detach", "--force", point.name, where=self._worktree)
            # Also what is ignored: a build or bytecode of another commit would be judged in its stead.
            self._said("clean", "-ffdxq", where=self._worktree)
        else:
            self._git("worktree", "prune")
            self._said("worktree", "add", "--quiet", "--detach", "--force", str(self._worktree), point.name)
        if self._prepare:
            done = self._run(self._prepare, point, self._worktree)
            if done.code != 0:
                raise CannotJudge(f"`{self._prepare}` {done.how}: {tail_of(done.log)}")
        return self._worktree

    def recipe(self, point: Point) -> tuple[str, str]:
        """A worktree for the commit in a new folder."""
        folder = f"checkout-{point.name[:12]}"
        line = f"git -C {shlex.quote(str(self.tree))} worktree add --detach $PWD/{folder} {point.name}"
        return line + (f" && (cd {folder} && {self._prepare})" if self._prepare else ""), f"$PWD/{folder}"

    def close(self) -> None:
        """Remove the worktree."""
        if self._worktree.exists():
            self._git("worktree", "remove", "--force", "--force", str(self._worktree))
