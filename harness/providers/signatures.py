"""What a release's functions take, read from its files and never imported: which of our calls it accepts.

A call is declared once (`harness.contract.declared.Call`): the paths where the function may lie, and the arguments in
their order. `rocassay contract` binds it to a release's signatures, and an adapter makes it, by the same data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rocassay.harness.contract.binding import Kind
from rocassay.harness.contract.checking import Result, check_call
from rocassay.harness.contract.declared import Call, Contract
from rocassay.harness.contract.sources import Source
from rocassay.harness.contract.tree import Tree as Package
from rocassay.harness.errors import RocassayError
from rocassay.harness.providers.trees import Project, Tree

Conventions = tuple[Call, ...]
"""Calls of one function as its releases take it, the preferred one first."""


class NoConvention(RocassayError, TypeError):
    """A release's function takes none of the calls that are known of it."""


class _Files:
    """The Python files of a tree, as the reader of signatures asks for them."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def text(self, path: str) -> str | None:
        """What a file says."""
        return self._tree.text(path)

    def below(self, folder: str) -> Iterable[str]:  # noqa: ARG002
        """Nothing: sources of native functions are not read, and calls of stubs pass by position what they must."""
        return ()


class Signatures:
    """The functions of one tree; each call is bound once."""

    def __init__(self, project: Project, tree: Tree) -> None:
        contract = Contract(project.package, project.package, project.distribution, signs=(), calls=())
        self._package = Package(Source(tree.where, _Files(tree)), contract)
        self._results: dict[Call, Result] = {}

    def of(self, call: Call) -> Result:
        """What becomes of a call in this release."""
        if call not in self._results:
            self._results[call] = check_call(self._package, call, due=True)
        return self._results[call]

    def accepted(self, conventions: Conventions) -> Result:
        """The first call that this release takes; NoConvention when there is none."""
        found = next((result for result in map(self.of, conventions) if result.binds), None)
        if found is None:
            said = "; ".join(f"{call.name}: {self.of(call).problems[0]}" for call in conventions)
            raise NoConvention(f"this release takes no call that is known of {_function(conventions[0])} ({said})")
        return found

    def lacks(self, uses: Sequence[Conventions]) -> str | None:
        """What this release does not have of what is used, in words: a function, or parameters of one; or None."""
        for conventions in uses:
            reasons = [self._lack(call) for call in conventions]
            if not any(self.of(call).binds for call in conventions) and all(reasons):
                return reasons[0]
        return None

    def strange(self, uses: Sequence[Conventions]) -> str | None:
        """Which function has all that is used of it and yet takes none of our calls, in words, or None."""
        for conventions in uses:
            if not any(self.of(call).binds for call in conventions):
                result = next((self.of(call) for call in conventions if not self._lack(call)), None)
                if result is not None:
                    said = f"{_function(result.call)} of this release takes another call than ours"
                    return f"{said}: {result.problems[0]}; `rocassay contract` lists its signature"
        return None

    def _lack(self, call: Call) -> str | None:
        result = self.of(call)
        if result.function is None:
            missing = bool(result.problems) and result.problems[0].kind is Kind.MISSING_FUNCTION
            return f"this release has no {_function(call)}" if missing else None
        signature = result.function.signature
        names = {each.name for each in signature.parameters}
        absent = [each.name for each in (*call.positional, *call.keywords) if not names.intersection(each.names)]
        open_ended = signature.takes_any("variadic") or signature.takes_any("keywords")
        return (
            None if open_ended or not absent else f"{result.function.name} of this release has no {', '.join(absent)}"
        )


def _function(call: Call) -> str:
    return call.paths[0].partition(":")[2]
