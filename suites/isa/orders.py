"""Legal orders of a workgroup's waves: what a launch computes when one wave runs ahead of the others.

The engine lets the waves of a workgroup go on together, and its races are bookkeeping. This is an argument of its own:
every wave runs alone from barrier to barrier, in an order of choice, and its accesses to local memory happen one after
the other at the last moment that the wave itself allows: when `s_waitcnt` asks for them, or when their counter is full.
Nothing else orders accesses of different waves: the SIMDs of a compute unit share several queues of requests (LLVM
AMDGPU usage, "Memory Model gfx942"). A kernel with all its barriers and waits computes the same bytes in every order.
"""
# pyright: reportUnknownMemberType=false, reportPrivateUsage=false

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from unittest import mock

import numpy as np

from rocassay.harness.engines.isa import launching
from rocassay.harness.engines.isa.crossbar import CROSSINGS
from rocassay.harness.engines.isa.machine import Machine
from rocassay.harness.engines.isa.program import Action, Block
from rocassay.harness.engines.isa.state import Bits, Pending, State


@contextlib.contextmanager
def waves_in(order: Sequence[int]) -> Iterator[None]:
    """While open, launches run wave by wave, and local memory is reached as late as each wave allows.

    Args:
        order: all waves of a workgroup, by number: the first one runs to its next barrier before the second begins.
    """
    with mock.patch.object(launching, "Machine", _machine(tuple(order))):
        yield


def _machine(order: tuple[int, ...]) -> type[Machine]:
    class Apart(Machine):
        """Runs each wave alone."""

        def run(self, state: State) -> None:
            whole = self.code.block
            vars(self.code)["block"] = lambda first: _late_block(whole(first))
            try:
                self._run_apart(state)
            finally:
                del vars(self.code)["block"]

        def _run_apart(self, state: State) -> None:
            self._waves = self._per_group([state])
            self._alive = self._waves.copy()
            ready = [state.part(np.arange(state.count) == n) for n in range(state.count)]
            waiting: list[State] = []
            while ready or waiting:
                if not ready:
                    ready, waiting = self._released(waiting)
                ready.sort(key=lambda one: order.index(int(one.waves[0]) % len(order)))
                wave = ready.pop(0)
                if self._advance(wave, None)[0] == "barrier":
                    waiting.append(wave)

    return Apart


def _late_block(block: Block) -> Block:
    return replace(block, actions=tuple(_late(one) if _reaches_local(one) else one for one in block.actions))


def _reaches_local(action: Action) -> bool:
    name = action.instruction.name
    return name.startswith("ds_") and name not in CROSSINGS


def _late(action: Action) -> Action:
    """The same access with the registers of now, at the moment that it is waited for."""

    def step(state: State) -> None:
        then = replace(state, v=state.v.copy(), a=state.a.copy(), s=state.s.copy(), pending=[], busy=set())

        def happen(_: Bits) -> None:
            action.step(then)
            # Its results go where the wave is by now, in the lanes that executed.
            for pending in then.pending:
                replace(pending, touches=()).commit(state)

        instruction = action.instruction
        state.issue(Pending("lgkmcnt", True, (), state.mask, happen, instruction.text, instruction.line))

    return Action(step, action.instruction)
