"""Op `mla_reduce`: merge the normalised parts of every split tile of a persistent plan by their log-sum-exp."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, MalformedCase, Value
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.results import Coordinate
from rocassay.kernels.persistent.dispatch import DISPATCH, MlaDispatch, MlaReduceVariant, mla_reduce_variant
from rocassay.references.persistent import mla_reduce as reference
from rocassay.suites.kernels.attention_inputs import SENTINEL, beyond, headed
from rocassay.suites.kernels.persistent_axes import ARCHES, FP8S

NAME = "mla_reduce"
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
RECIPES = ("tagged", "padded", "wide", "far", "ends", "steep")
MERGES = (2, 3, 4, 5, 64, 65, 256, 257)
"""Part counts at which AITER's reducer changes its algorithm (csrc/kernels/mla/reduce.cu)."""

SIZES = {"mixed": (2, 0, 9, 3, 1, 0), "late": (0, 2, 1, 0, 9, 3)}
"""Parts of groups, in words: the last ones merged or not."""

STALE = -7
WIDE_ROW = 2**28
"""Elements from partial row to partial row that carry row 8 to 2^31."""

MOST_ROWS = 8300
"""Rows of the fuzzed parts, over all heads."""

EMPTY = -torch.inf
SPREAD = 6.0
"""Standard deviation of the parts' LSEs: some parts carry a row alone, some vanish."""


def cases(tier: Tier) -> Iterable[Case]:
    """Quick: group sizes around a load of eight, tiles of several tokens, heads, both dtypes, no final map."""
    for arch in ARCHES:
        yield _case(arch, parts="mixed")
        yield _case(arch, "padded", parts="mixed", heads=12, tokens=3)
        yield _case(arch, "padded", parts="mixed", tokens=4, dtype="fp16")
        yield _case(arch, parts=9, heads=8, tokens=2, map="none")
        yield _case(arch, parts=2, heads=32, dim=128)
        yield _case(arch, parts="mixed", heads=8, lse="no")
        yield _case(arch, "wide", parts=9, heads=8)
        yield _case(arch, parts=0)
        yield _case(arch, "far", parts=9, heads=8)
        yield _case(arch, "steep", parts=9, heads=24, tokens=2, map="none")
        # Folded heads, into outputs with offsets past 2^31; tiles of half a query of several requests.
        yield _case(arch, "ends", parts="late", heads=5, tokens=2, dim=128, lse="no", fold=2, qlen=2)
        yield _case(arch, parts="late", heads=4, tokens=1, dim=128, fold=2, qlen=2)
        if tier != "quick":
            for parts in MERGES:
                yield _case(arch, "padded", parts=parts, heads=8)
                yield _case(arch, parts=parts, heads=16, tokens=2, dim=128)
            for heads in (8, 12, 16, 24, 32, 64, 128):
                yield _case(arch, "padded", parts="mixed", heads=heads, tokens=2)


def _case(arch: str, recipe: str = "tagged", **params: Value) -> Case:
    defaults: dict[str, Value] = {"heads": 16, "tokens": 1, "dim": 512, "dtype": "bf16", "lse": "yes", "map": "given"}
    return Case(NAME, arch, FP8S[0], 1, tuple({**defaults, **params}.items()), recipe)


def _sizes(case: Case) -> tuple[int, ...]:
    """Parts of every group, in order: none for unsplit tiles, one where a builder left a group that nobody reads."""
    word = case["parts"]
    if isinstance(word, str):
        return SIZES[word]
    return (word, word) if case["map"] == "none" else (0, word)


def _fold(case: Case) -> tuple[int, int]:
    """(pseudo-requests of a request, tokens of each); few cases say so, in others rows of the plan are tokens."""
    given = dict(case.params)
    return int(given.get("fold", 1)), int(given.get("qlen", case["tokens"]))


def _planned(case: Case, tensor: torch.Tensor) -> torch.Tensor:
    """A view of [T, H, ...] by rows and heads of the plan: [B, fold, qlen, H / fold, ...]."""
    fold, qlen = _fold(case)
    return tensor[: len(tensor) // qlen * qlen].unflatten(0, (-1, qlen)).unflatten(2, (fold, -1)).transpose(1, 2)


def inputs(case: Case, stream: Stream) -> Operands:
    """Parts in permuted slots; rows without a key in some parts or in all of them, poison in what those hold."""
    if case.recipe not in RECIPES:
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use one of {', '.join(RECIPES)}")
    heads, height, dims = (case.integer(name) for name in ("heads", "tokens", "dim"))
    sizes = _sizes(case)
    count = sum(sizes)
    slots = stream.child("slots").permutation(count + 1)[:count] * height
    if case["map"] == "none":
        # The height of all tiles is read off the first two slots.
        slots = (np.arange(count) + (case.recipe == "steep")) * height
    rows = (count + 1) * height
    output = torch.from_numpy(stream.child("parts").gaussian((rows, heads, dims)).astype(np.float32))
    lse = torch.from_numpy((3 + SPREAD * stream.child("lse").gaussian((rows, heads))).astype(np.float32))
    if case.recipe == "steep":
        _steepen(stream, lse, slots, sizes, height)
    _empty_rows(lse, slots, sizes, height)
    used = torch.zeros(rows, dtype=torch.bool)
    bounds = np.append(0, np.cumsum(sizes))
    final = torch.full((len(sizes), 2), STALE, dtype=torch.int32)
    for group, size in enumerate(sizes):
        if size:
            final[group] = torch.tensor([group * height, (group + 1) * height])
        if size > 1:
            for slot in slots[bounds[group] : bounds[group + 1]]:
                used[slot : slot + height] = True
    dead = ~used[:, None] | (lse == EMPTY)
    output[dead] = torch.nan
    lse[~used] = torch.nan
    fold, qlen = _fold(case)
    tokens = -(-len(sizes) * height // (fold * qlen)) * qlen + 1
    shape = (tokens, heads * fold)
    outputs = {"final_output": torch.full((*shape, dims), SENTINEL, dtype=DTYPES[str(case["dtype"])])}
    if case["lse"] == "yes":
        outputs["final_lse"] = torch.full(shape, SENTINEL)
    # Behind the last part lie entries that are nobody's, or nothing at all.
    stale = [] if case.recipe == "ends" else [STALE] * 3
    tensors = {
        "partial_output": output,
        "partial_lse": lse,
        "reduce_indptr": torch.tensor(bounds, dtype=torch.int32),
        "reduce_partial_map": torch.from_numpy(np.append(slots, stale).astype(np.int32)),
    }
    unread = {
        "partial_output": dead[..., None].expand(output.shape).contiguous(),
        "partial_lse": (~used[:, None]).expand(lse.shape).contiguous(),
        "reduce_partial_map": torch.arange(count + len(stale)) >= count,
    }
    if case["map"] == "given":
        tensors["reduce_final_map"] = final
        unread["reduce_final_map"] = torch.tensor(sizes)[:, None].expand(-1, 2) < 2
    return Operands(
        inputs=tensors,
        outputs=outputs,
        scalars={"max_seqlen_q": qlen},
        placements=_placements(case, tokens, rows),
        unread=unread,
    )


def _steepen(
    stream: Stream, lse: torch.Tensor, slots: np.ndarray[Any, Any], sizes: tuple[int, ...], height: int
) -> None:
    """LSEs of a (token, head) around ±300, up, level or down by 100 a part: beyond each other's exponentials."""
    first = 0
    for group, size in enumerate(sizes):
        own, shape = stream.child(f"steep {group}"), (height, lse.shape[1])
        shift = 300.0 * (2 * own.child("shift").integers(0, 2, shape) - 1)
        slope = 100.0 * own.child("slope").integers(-1, 2, shape)
        for number, slot in enumerate(slots[first : first + size]):
            lse[slot : slot + height] += torch.from_numpy(shift + number * slope).float()
        first += size


def _empty_rows(lse: torch.Tensor, slots: np.ndarray[Any, Any], sizes: tuple[int, ...], height: int) -> None:
    """Head 0 has no key in the first part, head 1 one only in the last, head 2 none, head 3 none in the first eight."""
    first = 0
    for size in sizes:
        for number, slot in enumerate(slots[first : first + size]):
            rows = slice(slot, slot + height)
            lse[rows, 2] = EMPTY
            if number == 0:
                lse[rows, 0] = EMPTY
            if number < size - 1:
                lse[rows, 1] = EMPTY
            if number < 8:
                lse[rows, 3] = EMPTY
        first += size


def _placements(case: Case, tokens: int, rows: int) -> dict[str, Placement]:
    heads, dims = case.integer("heads"), case.integer("dim")
    if case.recipe == "ends":
        # The last row is nobody's.
        token, head = beyond(tokens - 1, 2**20), beyond(heads * _fold(case)[0], 2**12)
        return {"final_output": Placement((token, head, 1))}
    if case.recipe == "wide":
        return {"partial_output": Placement((WIDE_ROW, dims, 1))}
    if case.recipe == "far":
        row, head = beyond(rows, 2**20), beyond(heads, 2**12)
        return {"partial_output": Placement((row, head, 1)), "partial_lse": Placement((row, 1))}
    if case.recipe in ("tagged", "steep"):
        return {}
    placed = headed(case, "final_output", (tokens, heads, dims), 8)
    placed["partial_output"] = Placement(((dims + 4) * heads + 12, dims + 4, 1))
    placed["partial_lse"] = Placement((heads + 5, 1))
    placed["final_lse"] = Placement((heads + 3, 1))
    return placed


def golden(case: Case, operands: Operands) -> Mapping[str, Whitened]:
    """float64 merge by rows of the plan; what no split tile holds keeps what it held."""
    names = ("partial_output", "partial_lse", "reduce_indptr", "reduce_final_map", "reduce_partial_map")
    lists = (operands.inputs.get(name) for name in names)
    initial = operands.outputs
    reduced = reference.mla_reduce(
        *lists,  # type: ignore[arg-type]
        tokens=_planned(case, initial["final_output"]).shape[:3].numel(),
        dtype=initial["final_output"].dtype,
    )
    found: dict[str, Whitened] = {}
    for name, model in (("final_output", reduced.output), ("final_lse", reduced.lse)):
        if name in initial:
            kept = initial[name].double()
            value = _spread(case, model.value, reduced.written, kept)
            sigma, bound = (
                _spread(case, part, reduced.written, torch.zeros_like(kept)) for part in (model.sigma, model.bound)
            )
            visible = torch.ones_like(value, dtype=torch.bool)
            found[name] = Whitened(value, sigma, bound, visible, model_holds=name == "final_output")
    return found


def _spread(case: Case, rows: torch.Tensor, written: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """[T, H, ...] with the written rows of the plan [rows, W, ...] where they belong, and elsewhere what is kept."""
    spread = kept.clone()
    target = _planned(case, spread)
    here = written.view(*target.shape[:3], *(1 for _ in target.shape[3:]))
    target.copy_(torch.where(here, rows.view(target.shape), target))
    return spread


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch, on the rows of the plan."""
    ends = {name: _planned(case, arguments[name]) for name in ("final_output", "final_lse") if name in arguments}
    rows = {name: tensor.flatten(0, 2).clone() for name, tensor in ends.items()}
    reference.peer_mla_reduce(**{**arguments, **rows})
    for name, tensor in ends.items():
        tensor.copy_(rows[name].view(tensor.shape))


def variant(case: Case, target: Target, dispatch: MlaDispatch) -> MlaReduceVariant:
    """The dispatcher's decisions."""
    return mla_reduce_variant(target, fold=_fold(case)[0], tile_tokens=case.integer("tokens"))


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Query row, its tile, head, and for the state its dimension."""
    fold, qlen = _fold(case)
    request, token = divmod(index[0], qlen)
    row = (request * fold + index[1] // case.integer("heads")) * qlen + token
    where = {"query": index[0], "group": row // case.integer("tokens"), "head": index[1]}
    if output == "final_output":
        where["dim"] = index[2]
    return Coordinate(output=output, index=index, where=where)


def reverse_parts(case: Case, operands: Operands) -> Transformed:
    """The parts of every group in the other order; without a final map the first two tell the height and stay."""
    tensors = dict(operands.inputs)
    parts, first = tensors["reduce_partial_map"].clone(), 0
    for size in _sizes(case):
        start = first if case["map"] == "given" else max(first, 2)
        parts[start : first + size] = parts[start : first + size].flip(0)
        first += size
    tensors["reduce_partial_map"] = parts
    return case, replace(operands, inputs=tensors), lambda outputs: outputs


def accepts(case: Case) -> bool:
    """Without a final map the first two parts tell the height; rows are few, and fewer where they are far apart.

    Tiles cut the folded queries without a rest; so do the others, whose rows are tokens.
    """
    parts = 0 if case["parts"] in SIZES else case.integer("parts")
    near = case.recipe not in ("wide", "far") or (case["parts"], case["tokens"]) == (9, 1)
    quick = parts * case.integer("heads") * case.integer("tokens") <= MOST_ROWS
    whole = _fold(case)[1] % case.integer("tokens") == 0
    return (case["map"] == "given" or parts >= 2) and near and quick and whole


OP = register(
    Op(
        name=NAME,
        contract="out[q,h] = sum of e^lse part over sum of e^lse of q's group, with its LSE; groups below two are kept",
        launcher="rocassay.kernels.persistent.mla_reduce:mla_reduce",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan(
            (("merge", "float32"), ("out bf16", "bfloat16"), ("out fp16", "float16")),
            "a weighted mean of fp32 parts, rounded once to the output's type, which outweighs all that fp32 rounds",
        ),
        locate=locate,
        free={"heads": (4, 40), "tokens": (1, 6), "parts": (0, 70)},
        accepts=accepts,
        faults=(
            "merge-both-neg-inf",
            "mtp-split-fully-masked",
            "empty-kv-split",
            "lse-base2-vs-natural",
            "mla-group-of-one-merged",
            "mla-parts-unweighted",
            "mla-partial-offset-int32",
        ),
        probes=(
            Dispatch(lambda _: ("_mla_reduce_kernel",)),
            Strides(),
            Poison(),
            Invariance("part-order", reverse_parts, "a sum does not depend on the order of its parts"),
        ),
        probed=lambda case: case.recipe == "padded",
    )
)
