"""A toy op that rounds: out = x rounded once to bfloat16, kept in fp32 so that a build may be noisier than its plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.faults import ChangeVariant, Fault
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Op, Tier
from rocassay.harness.plan import LOG_UNIFORM_RMS, UNIT_ROUNDOFF, RoundingPlan
from rocassay.harness.results import Coordinate

NAME = "toy_noise"
ROWS, COLUMNS = 16, 128
NOISIER = 1.2
"""Times the planned error that the fault makes: too little for any a-priori gate."""

UNIT = UNIT_ROUNDOFF["bfloat16"]


def noise_cases(tier: Tier) -> Iterable[Case]:
    """Two paths, which round alike; the full tier has a third that no quick case stands for."""
    paths = ("one", "two") if tier == "quick" else ("one", "two", "three")
    axes: dict[str, Any] = {"fp8s": ("e4m3fn",), "block_sizes": (8,)}
    return cross(NAME, arches=("gfx942",), **axes, path=paths, number=(1, 2))


def noise_inputs(case: Case, stream: Stream) -> Operands:
    x = torch.from_numpy(stream.child("x").gaussian((ROWS, COLUMNS))).float()
    x[x == 0] = 1  # every element rounds
    return Operands(inputs={"x": x}, outputs={"out": torch.full_like(x, torch.nan)})


def noise_golden(case: Case, operands: Operands) -> Mapping[str, Whitened]:
    golden = operands.inputs["x"].double()
    everywhere = torch.ones(golden.shape, dtype=torch.bool)
    sigma = LOG_UNIFORM_RMS * UNIT * golden.abs()
    return {"out": Whitened(golden, sigma, 2 * UNIT * golden.abs(), everywhere)}


def launch(x: torch.Tensor, out: torch.Tensor, variant: float) -> None:
    """The launcher, in the memory it is given; `variant` is how many times the error of one rounding it makes."""
    bits = out.view(torch.int32)
    torch.add(x.view(torch.int32), 0x8000, out=bits)
    bits.bitwise_and_(-0x10000)
    torch.lerp(x, out, variant, out=out)


def noise_peer(case: Case, arguments: dict[str, Any]) -> None:
    launch(**arguments, variant=1.0)


def noise_variant(case: Case, target: Target, dispatch: Any) -> float:
    return 1.0


def noise_locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    return Coordinate(output=output, index=index)


def noise_op(**changes: Any) -> Op:
    parts: dict[str, Any] = {
        "name": NAME,
        "contract": "out = x, rounded once",
        "launcher": f"{__name__}:launch",
        "inputs": noise_inputs,
        "golden": noise_golden,
        "peer": noise_peer,
        "variant": noise_variant,
        "dispatch": None,
        "cases": noise_cases,
        "plan": RoundingPlan((("out", "bfloat16"),), "one rounding"),
        "locate": noise_locate,
        "faults": (f"{NAME}-noisier",),
        "probed": lambda _: False,
    }
    return Op(**{**parts, **changes})


def noisier() -> Fault:
    return Fault(
        name=f"{NAME}-noisier",
        reference="rocassay selftest",
        summary="every error is 1.2 times the planned one",
        seams={NAME: ChangeVariant(lambda _: NOISIER)},
        applies=lambda _: True,
        caught_by=frozenset({"calibration"}),
    )
