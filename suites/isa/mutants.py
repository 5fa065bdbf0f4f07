"""Programs with one mistake: a barrier missing, a wait relaxed, a tensor too short."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.engines.isa import asm
from rocassay.harness.engines.isa.asm import Program
from rocassay.harness.engines.isa.codeobj import CompiledLaunch, runnable
from rocassay.harness.engines.isa.launching import Outcome, Settings, execute
from rocassay.harness.engines.isa.program import Block
from rocassay.harness.engines.isa.state import State
from rocassay.harness.engines.launch import Launch
from rocassay.suites.isa.locallog import LocalLog

Kind: TypeAlias = Literal["barrier", "wait", "tensor"]

RELAXED: tuple[int, ...] = (1, 8, 64)
"""By how much a counter of `s_waitcnt` is raised; 64 is more than it can count: no wait at all."""

CUTS = (1, 2, 7, 64)
"""Elements that a tensor is shortened by."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A program with one mistake.

    Attributes:
        number: of the instruction that is changed.
        what: the change in words.
    """

    kind: Kind
    number: int
    what: str
    program: Program


def _changed(program: Program, number: int, text: str) -> Program:
    old = program.instructions[number]
    new = replace(asm.instruction(text), line=old.line, where=old.where)
    instructions = (*program.instructions[:number], new, *program.instructions[number + 1 :])
    return replace(program, instructions=instructions)


def without_barriers(program: Program) -> Iterator[Mutant]:
    """One barrier removed at a time."""
    for number, instruction in enumerate(program.instructions):
        if instruction.name == "s_barrier":
            yield Mutant("barrier", number, "s_barrier removed", _changed(program, number, "s_nop 0"))


def relaxed_waits(program: Program) -> Iterator[Mutant]:
    """One counter of one wait raised at a time."""
    for number, instruction in enumerate(program.instructions):
        if instruction.name != "s_waitcnt":
            continue
        for counter, left in instruction.modifiers.items():
            assert isinstance(left, int)
            for more in RELAXED:
                text = re.sub(rf"{counter}\(\d+\)", f"{counter}({left + more})", instruction.text.strip())
                yield Mutant("wait", number, f"{instruction.text.strip()} -> {text}", _changed(program, number, text))


class Subject:
    """A launch that can be run again and again, and its clean run.

    Attributes:
        clean: outcome of the program as it is.
        touched: bool [bytes] by tensor: what the clean run loads or stores.
    """

    def __init__(self, code: CompiledLaunch, launch: Launch, settings: Settings) -> None:
        self.code, self.launch, self.settings = code, launch, settings
        self._held = {name: value for name, value in launch.args.items() if isinstance(value, torch.Tensor)}
        self._saved = {name: bytes_of(tensor).copy() for name, tensor in self._held.items()}
        self.touched = {name: np.zeros(len(saved), np.bool_) for name, saved in self._saved.items()}
        memory: Any = code.code.reach.memory
        watching = {"load": memory.load, "store": memory.store, "update": memory.update}
        for name, call in watching.items():
            setattr(memory, name, self._watched(memory, call))
        try:
            self.clean = self._run(code, launch)
        finally:
            for name in watching:
                delattr(memory, name)
        # A mistake may make a loop endless: that is soon told from a long one.
        self.settings = replace(settings, patience=4 * self.clean.counts.total + 10_000)

    def _watched(self, memory: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, and a note of the bytes that it is asked for."""

        def note(addresses: NDArray[np.int64], *rest: Any, **named: Any) -> Any:
            integers = [one for one in rest if isinstance(one, int)]
            size = integers[0] if integers else rest[-2].size if len(rest) > 3 else 4
            lanes = next((one for one in rest if isinstance(one, np.ndarray) and one.dtype == np.bool_), None)
            places = addresses.ravel() if lanes is None else addresses[lanes]
            for name, touched in self.touched.items():
                first = memory.address(name)
                inside = places[(places >= first) & (places < first + len(touched))] - first
                for byte in range(size):
                    touched[inside[inside + byte < len(touched)] + byte] = True
            return call(addresses, *rest, **named)

        return note

    def _run(self, code: CompiledLaunch, launch: Launch) -> Outcome:
        for name, saved in self._saved.items():
            bytes_of(self._held[name])[:] = saved
        return execute(code, launch, self.settings)

    def run(self, mutant: Mutant) -> Outcome:
        """Run a mutant on the launch's inputs. Raises what `execute` raises."""
        return self._run(replace(self.code, code=runnable(mutant.program, self.code.arch)), self.launch)

    def meets(self, mutant: Mutant) -> bool:
        """Whether waves of the mutant meet in local memory, by a log of all accesses."""
        code = replace(self.code, code=runnable(mutant.program, self.code.arch))
        log = LocalLog(code.code.reach.lds)
        self._run(code, self.launch)
        log.close()
        return log.meetings > 0

    def leaves(self, mutant: Mutant) -> frozenset[str]:
        """Operations, by text, that a relaxed wait leaves under way and the wait as it was would have completed."""
        code, found = runnable(mutant.program, self.code.arch), set[str]()
        old = self.code.program.instructions[mutant.number].modifiers
        whole = code.block

        def note(state: State) -> None:
            for counter, left in old.items():
                own = [one for one in state.pending if one.counter == counter]
                assert isinstance(left, int)
                if left == 0 or all(one.ordered for one in own):
                    found.update(one.text for one in own[: max(len(own) - left, 0)])

        def watched(first: int) -> Block:
            block = whole(first)
            if not first <= mutant.number < block.after:
                return block
            place = mutant.number - first
            wait = block.actions[place]

            def step(state: State) -> None:
                wait.step(state)
                note(state)

            actions = (*block.actions[:place], replace(wait, step=step), *block.actions[place + 1 :])
            return replace(block, actions=actions)

        vars(code)["block"] = watched
        self._run(replace(self.code, code=code), self.launch)
        return frozenset(found)

    def executed(self, number: int) -> bool:
        """Whether the clean run came to an instruction."""
        return self.clean.executed[number] > 0

    def shortened(self) -> Iterator[tuple[str, int, Launch, bool]]:
        """(tensor, elements cut off, launch, whether the clean run touches what is cut off).

        Tensors whose bytes belong to another argument, too, are left out.
        """
        for name, tensor in self._held.items():
            if self._shares(name):
                continue
            size = tensor.element_size()
            length = len(self._saved[name]) // size
            for cut in CUTS:
                if cut < length:
                    short = tensor.as_strided((length - cut,), (1,))
                    arguments: Mapping[str, Any] = {**self.launch.args, name: short}
                    touched = bool(self.touched[name][(length - cut) * size :].any())
                    yield name, cut, replace(self.launch, args=arguments), touched

    def _shares(self, name: str) -> bool:
        spans = {one: (held.data_ptr(), len(self._saved[one])) for one, held in self._held.items()}
        start, length = spans.pop(name)
        return any(start < other + size and other < start + length for other, size in spans.values())

    def run_shortened(self, launch: Launch) -> Outcome:
        """Run the program as it is on a launch with a shorter tensor."""
        return self._run(self.code, launch)


def bytes_of(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """The bytes from the first element to the last, in place."""
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True)) if tensor.numel() else -1
    flat = tensor.as_strided((last + 1,), (1,))
    return flat.view(torch.uint8).numpy() if last >= 0 else np.zeros(0, np.uint8)
