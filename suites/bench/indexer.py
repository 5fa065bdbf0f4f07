"""Benches of the indexer cache family: paged logits and the cache writer, pages of 64 keys of 128 dims."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from rocassay.harness.bench.bench import SHIPPED, Arguments, Bench, Call, Place, Reference, Traffic, register
from rocassay.harness.gates import Verdict, Whitened
from rocassay.kernels.indexer.dispatch import LaunchPath, logits_variant, write_variant
from rocassay.kernels.indexer.fp8_paged_mqa_logits import fp8_paged_mqa_logits
from rocassay.kernels.indexer.indexer_k_quant_and_cache import indexer_k_quant_and_cache
from rocassay.references.indexer import fp8_paged_mqa_logits as logits_reference
from rocassay.references.indexer import indexer_k_quant_and_cache as write_reference
from rocassay.suites.bench import naive
from rocassay.suites.bench.draws import H200, PRODUCTION, codes, generator, indexer_cache, normal, permutation

HEADS, DIMS, BLOCK_SIZE, RECORD = 64, 128, 64, 132
LAYOUT = "SHUFFLE"
CHECKED_REQUESTS, CHECKED_PAGES = 2, 12
CHECKED_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Logits:
    """Shape of one launch of the paged logits."""

    batch: int
    context: int
    next_n: int = 1

    @property
    def name(self) -> str:
        """`b8x32k`, with the query rows a request where they are several."""
        return f"b{self.batch}x{self.context // 1024}k" + (f"-next{self.next_n}" if self.next_n > 1 else "")

    @property
    def traffic(self) -> Traffic:
        """Every key and its scale once, every logit once."""
        rows, pages = self.batch * self.next_n, self.batch * self.context // BLOCK_SIZE
        read = pages * (BLOCK_SIZE * RECORD + 4) + rows * HEADS * (DIMS + 4)
        return Traffic(read, rows * self.context * 4, 2 * rows * self.context * HEADS * DIMS, "bf16")


def make_logits(shape: Logits, where: Place, count: int) -> list[Arguments]:
    """Pages of all requests and sets in one permuted pool; the workspace of the two kernels is shared."""
    random, rows = generator(where.device, 1), shape.batch * shape.next_n
    width = shape.context // BLOCK_SIZE
    pool = indexer_cache(random, count * shape.batch * width, BLOCK_SIZE, where.fp8)
    tables = permutation(random, len(pool)).view(count, shape.batch, width)
    workspace = torch.empty(HEADS, rows, shape.context, device=where.device)
    return [
        {
            "q_fp8": codes(random, (shape.batch, shape.next_n, HEADS, DIMS), where.fp8),
            "kv_cache": pool,
            "weights": normal(random, (rows, HEADS), torch.float32),
            "context_lens": torch.full((shape.batch,), shape.context, dtype=torch.int32, device=where.device),
            "block_tables": table,
            "logits": torch.empty(rows, shape.context, device=where.device),
            "workspace": workspace,
        }
        for table in tables
    ]


def logits_calls(shape: Logits, where: Place) -> dict[str, Call]:
    """The single kernel; two kernels; and, for one row a request, the naive kernel."""

    def by(path: LaunchPath | None) -> Call:
        variant = logits_variant(where.target, fp8=where.fp8, block_size=BLOCK_SIZE, ratio=1, path=path)
        return lambda a: fp8_paged_mqa_logits(**a, max_model_len=shape.context, variant=variant)

    def first_written(a: Arguments) -> None:
        naive.paged_logits(
            *(a[name] for name in ("q_fp8", "kv_cache", "weights", "context_lens", "block_tables", "logits")),
            shuffle=LAYOUT == "SHUFFLE",
            fp8=where.fp8,
            native=where.fp8 in where.target.native_fp8,
        )

    calls = {SHIPPED: by(None), "two kernels": by("two_kernel")}
    return {**calls, "naive": first_written} if shape.next_n == 1 else calls


def check_logits(shape: Logits, where: Place, a: Arguments) -> list[Verdict]:
    """Some pages of some requests against the float64 golden; a page that not every row sees is left out."""
    random = generator(torch.device("cpu"), 2)
    width = shape.context // BLOCK_SIZE - (shape.next_n > 1)
    verdicts: list[Verdict] = []
    for request in {0, shape.batch - 1, shape.batch // 2}:
        columns = torch.randperm(width, generator=random)[:CHECKED_PAGES].sort().values
        columns[0], columns[-1] = 0, width - 1
        rows = slice(request * shape.next_n, (request + 1) * shape.next_n)
        pages = a["kv_cache"][a["block_tables"][request].cpu()[columns].long().to(where.device)].cpu()
        length = len(columns) * BLOCK_SIZE
        golden = logits_reference.fp8_paged_mqa_logits(
            a["q_fp8"][request : request + 1].cpu(),
            pages,
            a["weights"][rows].cpu(),
            torch.full((1, shape.next_n), length, dtype=torch.int32),
            torch.arange(len(columns), dtype=torch.int32)[None],
            max_model_len=length,
            layout=LAYOUT,
            fp8=where.fp8,
        )
        position = (columns[:, None] * BLOCK_SIZE + torch.arange(BLOCK_SIZE)).flatten().to(where.device)
        expected = Whitened(golden.value, golden.sigma, golden.bound, golden.visible)
        verdicts += expected.judge("logits", a["logits"][rows][:, position].cpu())
    return verdicts


def write_traffic(tokens: int) -> Traffic:
    """bf16 keys and int64 slots in, 132 bytes a key out."""
    return Traffic(tokens * (2 * DIMS + 8), tokens * RECORD)


def make_write(tokens: int, scattered: bool, where: Place, count: int) -> list[Arguments]:
    """One cache for all sets, no slot twice: every token on a page of its own (decode), or whole pages (prefill)."""
    random = generator(where.device, 3)
    pages = -(-tokens * count // BLOCK_SIZE)
    cache = torch.empty(pages, BLOCK_SIZE, RECORD, dtype=torch.uint8, device=where.device)
    slots = permutation(random, pages * BLOCK_SIZE if scattered else pages).long()
    if not scattered:
        slots = (slots[:, None] * BLOCK_SIZE + torch.arange(BLOCK_SIZE, device=where.device)).flatten()
    return [
        {
            "k": normal(random, (tokens, DIMS)),
            "kv_cache": cache,
            "slot_mapping": slots[index * tokens : (index + 1) * tokens],
        }
        for index in range(count)
    ]


def write_calls(tokens: int, where: Place) -> dict[str, Call]:
    """The shipped writer and the naive one."""
    variant = write_variant(where.target, fp8=where.fp8, block_size=BLOCK_SIZE, ratio=1, tokens=tokens)
    shuffle = variant.layout == "SHUFFLE"

    def first_written(a: Arguments) -> None:
        naive.quantise_and_cache(
            a["k"], a["kv_cache"], a["slot_mapping"],
            maximum=variant.scaling_max, shuffle=shuffle, fp8=where.fp8, native=variant.native,
        )  # fmt: skip

    return {
        SHIPPED: lambda a: indexer_k_quant_and_cache(**a, scale_fmt="ue8m0", variant=variant),
        "naive": first_written,
    }


def check_write(where: Place, a: Arguments) -> list[Verdict]:
    """The pages of some tokens, byte by byte."""
    tokens = torch.randperm(len(a["k"]), generator=generator(torch.device("cpu"), 4))[:CHECKED_TOKENS]
    slots = a["slot_mapping"].cpu()[tokens]
    pages, inverse = torch.unique(slots // BLOCK_SIZE, return_inverse=True)
    found = a["kv_cache"][pages.to(where.device)].cpu()
    golden = write_reference.indexer_k_quant_and_cache(
        a["k"].cpu()[tokens],
        found,
        inverse * BLOCK_SIZE + slots % BLOCK_SIZE,
        layout=LAYOUT,
        fp8=where.fp8,
        scale_fmt="ue8m0",
    )
    wrong = int((found != golden.expected).sum())
    detail = f"{wrong} bytes of {len(tokens)} tokens differ from the golden"
    return [Verdict("bytes", not wrong, detail, float(wrong), 0.0, "stored bytes are exact")]


LOGITS_REFERENCES: Mapping[str, float] = {"b1x128k": 28, "b8x32k": 19, "b64x8k": 31, "b64x32k": 86}
LOGITS_SHAPES: Sequence[Logits] = (
    Logits(1, 131072),
    Logits(8, 32768),
    Logits(64, 8192),
    Logits(64, 32768),
    Logits(64, 4096),
    Logits(16, 131072),
    Logits(64, 8192, next_n=2),
)
WRITE_REFERENCES: Mapping[int, float] = {1024: 5.3, 8192: 11}

for _shape in LOGITS_SHAPES:
    _time = LOGITS_REFERENCES.get(_shape.name)
    register(
        Bench(
            op="fp8_paged_mqa_logits",
            name=_shape.name,
            traffic=_shape.traffic,
            make=functools.partial(make_logits, _shape),
            implementations=functools.partial(logits_calls, _shape),
            outputs=("logits",),
            check=functools.partial(check_logits, _shape),
            shape={"batch": _shape.batch, "context": _shape.context, "next_n": _shape.next_n, "heads": HEADS},
            reference=Reference(_time, PRODUCTION, H200) if _time else None,
        )
    )

for _tokens, _scattered in ((1024, True), (8192, True), (8192, False), (65536, False)):
    _time = WRITE_REFERENCES.get(_tokens)
    register(
        Bench(
            op="indexer_k_quant_and_cache",
            name=f"t{_tokens}-{'scattered' if _scattered else 'pages'}",
            traffic=write_traffic(_tokens),
            make=functools.partial(make_write, _tokens, _scattered),
            implementations=functools.partial(write_calls, _tokens),
            outputs=("kv_cache",),
            check=check_write,
            shape={"tokens": _tokens, "block_size": BLOCK_SIZE},
            reference=Reference(_time, PRODUCTION, H200) if _time else None,
        )
    )
