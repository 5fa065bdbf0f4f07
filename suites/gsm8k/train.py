"""Train the embedded model: `python -m rocassay.suites.gsm8k.train`, a few minutes on one H100 or H200.

First the attention is dense and the indexer learns to rank keys as the attention weighs them (Kullback-Leibler
divergence to the mean attention of all heads); then only the selected keys are attended to, as in DeepSeek V3.2's own
two stages. Latents and index keys are rounded to e4m3fn with the caches' scales in every forward pass.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch.nn import functional

from rocassay.suites.gsm8k.config import ModelConfig, parameter_shapes
from rocassay.suites.gsm8k.network import cos_sin_cache, feed_forward, index_key, layer_weights, rms_norm
from rocassay.suites.gsm8k.problems import TRAINING_SEED, problems
from rocassay.suites.gsm8k.tokenizer import Tokenizer

FP8_MAX = 448.0
LONGEST_PROBLEM = 96
"""Tokens of a problem with its answer, at most."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How it is trained; the weights are a function of this and of the device."""

    seed: int = 0
    steps: int = 1600
    """Optimiser steps in all."""
    dense_steps: int = 700
    """Of these, the first ones with dense attention."""
    tokens: int = 40_960
    """Tokens of a batch."""
    short: int = 320
    """Tokens of a sequence, in most batches."""
    long: int = 1280
    """Tokens of a sequence in every `long_every`th batch: prompts of 20 and more examples."""
    long_every: int = 4
    peak: float = 1.5e-3
    """Largest learning rate."""
    warmup: int = 200
    decay: float = 0.05
    """Weight decay of matrices."""
    pool: int = 200_000
    """Different problems."""
    index_loss: float = 1.0
    """Weight of the indexer's divergence; it reaches the indexer's own weights only."""


class Pool:
    """Encoded problems on the device, from which batches are put together."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        tokenizer = Tokenizer()
        self._first = tokenizer.first_question
        rows = torch.zeros(recipe.pool, LONGEST_PROBLEM, dtype=torch.int16)
        learned = torch.zeros(recipe.pool, LONGEST_PROBLEM, dtype=torch.bool)
        lengths = torch.zeros(recipe.pool, dtype=torch.int64)
        for number, drawn in enumerate(problems(TRAINING_SEED, recipe.pool)):
            asked = tokenizer.encode(f"\n\nQuestion: {drawn.question}\nAnswer:")
            ids = asked + tokenizer.encode(f" {drawn.answer}")
            rows[number, : len(ids)] = torch.tensor(ids, dtype=torch.int16)
            # The separator is learned too: it is what ends the answer before it.
            learned[number, 0], learned[number, len(asked) : len(ids)] = True, True
            lengths[number] = len(ids)
        self._rows, self._learned, self._lengths = rows.to(device), learned.to(device), lengths.to(device)

    def batch(self, sequences: int, length: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """(token ids [B, length], which of them are learned [B, length])."""
        device = self._rows.device
        shortest = int(self._lengths.min())
        picked = torch.randint(len(self._rows), (sequences, -(-length // shortest)), generator=generator, device=device)
        sizes = self._lengths[picked]
        starts = sizes.cumsum(1) - sizes
        inner = torch.arange(LONGEST_PROBLEM, device=device)
        places = starts[..., None] + inner
        real = (inner < sizes[..., None]) & (places < length)
        where = torch.arange(sequences, device=device)[:, None, None].expand_as(places)[real], places[real]
        ids = torch.zeros(sequences, length, dtype=torch.int64, device=device)
        learned = torch.zeros(sequences, length, dtype=torch.bool, device=device)
        ids[where], learned[where] = self._rows[picked][real].long(), self._learned[picked][real]
        ids[:, 0], learned[:, 0] = self._first, False
        return ids, learned


def rounded_latent(x: torch.Tensor, config: ModelConfig) -> torch.Tensor:
    """As the FP8 cache holds it: one scale for all, values beyond the range clamped; gradients pass."""
    scale = config.latent_range / FP8_MAX
    stored = (x.detach() / scale).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn).to(x.dtype) * scale
    return x + (stored - x.detach())


def rounded_index(x: torch.Tensor) -> torch.Tensor:
    """As the indexer's quantiser holds it: a power-of-two scale a row; gradients pass."""
    held = x.detach().float()
    scale = torch.exp2(torch.ceil(torch.log2(held.abs().amax(dim=-1, keepdim=True).clamp(min=1e-10) / FP8_MAX)))
    stored = ((held / scale).to(torch.float8_e4m3fn).float() * scale).to(x.dtype)
    return x + (stored - x.detach())


def turned(x: torch.Tensor, table: torch.Tensor, *, neighbours: bool) -> torch.Tensor:
    """RoPE on the last dimension of [B, T, ..., rope]; pairs are neighbours (gptj) or halves (neox)."""
    half = table.shape[1] // 2
    cos, sin = (part.view(-1, *([1] * (x.dim() - 3)), half).to(x.dtype) for part in table.split(half, dim=1))
    if neighbours:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)
    a, b = x.split(half, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def index_scores(
    h: torch.Tensor, w: Mapping[str, torch.Tensor], table: torch.Tensor, config: ModelConfig
) -> torch.Tensor:
    """fp32 [B, T, T] of the lightning indexer; no gradient reaches h."""
    h = h.detach()
    b, t, _ = h.shape
    q = (h @ w["index_query"]).view(b, t, config.index_heads, config.index_dim)
    k = index_key(h, w, config)
    q = rounded_index(torch.cat([turned(q[..., : config.rope], table, neighbours=False), q[..., config.rope :]], -1))
    k = rounded_index(torch.cat([turned(k[..., : config.rope], table, neighbours=False), k[..., config.rope :]], -1))
    weights = (h @ w["index_weights"]).float() * config.index_scale
    scores = torch.zeros(b, t, t, device=h.device)
    for head in range(config.index_heads):
        product = (q[:, :, head] @ k.transpose(1, 2)).relu()
        scores = scores + weights[:, :, head, None] * product
    return scores


def attention(
    x: torch.Tensor, w: Mapping[str, torch.Tensor], table: torch.Tensor, config: ModelConfig, *, sparse: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(update of the residual stream, the indexer's divergence)."""
    b, t, _ = x.shape
    c = config
    h = rms_norm(x, w["attention_norm"], c.epsilon)
    q_nope, q_rope = (h @ w["query"]).view(b, t, c.heads, c.nope + c.rope).split([c.nope, c.rope], dim=-1)
    latent, k_rope = (h @ w["latent"]).split([c.latent, c.rope], dim=-1)
    latent = rounded_latent(rms_norm(latent, w["latent_norm"], c.epsilon), c)
    k_rope = rounded_latent(turned(k_rope, table, neighbours=True), c)
    q = torch.cat([q_nope, turned(q_rope, table, neighbours=True)], dim=-1).transpose(1, 2)
    k_nope = torch.einsum("btl,hnl->bhtn", latent, w["key_up"])
    k = torch.cat([k_nope, k_rope[:, None].expand(b, c.heads, t, c.rope)], dim=-1)
    values = torch.einsum("btl,hlv->bhtv", latent, w["value_up"])
    causal = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
    ranks = index_scores(h, w, table, c).masked_fill(~causal, -torch.inf)
    seen = causal
    if sparse and t > c.topk:
        least = ranks.detach().topk(c.topk, dim=-1).values[..., -1:]
        seen = (causal & (ranks.detach() >= least))[:, None]
    scores = (q @ k.transpose(2, 3)) * c.scale
    weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
    mixed = (weights @ values).transpose(1, 2).reshape(b, t, c.heads * c.value)
    wanted = weights.detach().float().mean(dim=1)
    # What a causal mask hides has no weight and no logarithm.
    logs = ranks.log_softmax(dim=-1).masked_fill(~causal, 0.0)
    divergence = -((wanted * logs).sum(dim=-1) + torch.special.entr(wanted).sum(dim=-1)).mean()
    return mixed @ w["output"], divergence


def forward(
    weights: Mapping[str, torch.Tensor], ids: torch.Tensor, table: torch.Tensor, config: ModelConfig, *, sparse: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(logits [B, T, vocabulary], the indexer's divergence, summed over layers)."""
    x = weights["embedding"][ids]
    divergence = torch.zeros((), device=x.device)
    for layer in range(config.layers):
        w = layer_weights(weights, layer)
        update, apart = attention(x, w, table[: ids.shape[1]], config, sparse=sparse)
        x, divergence = x + update, divergence + apart
        x = x + feed_forward(x, w, config)
    return rms_norm(x, weights["norm"], config.epsilon) @ weights["embedding"].T, divergence


def initial(config: ModelConfig, vocabulary: int, seed: int, device: torch.device) -> dict[str, torch.nn.Parameter]:
    """fp32 weights before training, drawn on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, torch.nn.Parameter] = {}
    for name, shape in parameter_shapes(config, vocabulary).items():
        if name.endswith(("norm", "gain")):
            drawn = torch.ones(shape)
        elif name.endswith("bias"):
            drawn = torch.zeros(shape)
        elif name == "embedding":
            drawn = torch.randn(shape, generator=generator) * 0.02
        else:
            fan_in = shape[-1] if name.endswith("key_up") else shape[-2]
            residual = name.endswith(("output", "down"))
            spread = fan_in**-0.5 / (math.sqrt(2 * config.layers) if residual else 1)
            drawn = torch.randn(shape, generator=generator) * spread
        weights[name] = torch.nn.Parameter(drawn.to(device))
    return weights


def answered_right(logits: torch.Tensor, ids: torch.Tensor, learned: torch.Tensor) -> float:
    """Share of problems whose every learned token is the most likely one: then greedy decoding writes the same."""
    right = (logits[:, :-1].argmax(-1) == ids[:, 1:]) | ~learned[:, 1:]
    # A separator starts a problem; its own token ends the one before.
    number = (ids[:, :-1] == Tokenizer().next_question).cumsum(1)
    whole = torch.ones(len(ids), int(number.max()) + 1, device=ids.device, dtype=torch.int64)
    whole.scatter_reduce_(1, number, right.long(), "amin")
    # The first has no examples before it, the last is cut off.
    known = torch.arange(whole.shape[1], device=ids.device) < number.max(dim=1).values[:, None]
    return float(whole[known].double().mean())


def train(recipe: Recipe, config: ModelConfig, device: torch.device, log: Any) -> dict[str, torch.Tensor]:
    """bf16 weights."""
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(recipe.seed)
    tokenizer, started = Tokenizer(), time.perf_counter()
    weights = initial(config, tokenizer.size, recipe.seed, device)
    table = cos_sin_cache(config, recipe.long).to(device)
    pool = Pool(recipe, device)
    generator = torch.Generator(device).manual_seed(recipe.seed)
    matrices = [weight for weight in weights.values() if weight.dim() > 1]
    vectors = [weight for weight in weights.values() if weight.dim() == 1]
    groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.peak, betas=(0.9, 0.98), fused=device.type == "cuda")
    for step in range(recipe.steps):
        rate = (
            recipe.peak * min(1.0, (step + 1) / recipe.warmup) * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps))
        )
        for group in optimiser.param_groups:
            group["lr"] = max(rate, recipe.peak * 0.01)
        length = recipe.long if step % recipe.long_every == recipe.long_every - 1 else recipe.short
        ids, learned = pool.batch(recipe.tokens // length, length, generator)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits, divergence = forward(weights, ids, table, config, sparse=step >= recipe.dense_steps)
        losses = functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        asked = learned[:, 1:].flatten()
        loss = (losses * asked).sum() / asked.sum()
        optimiser.zero_grad(set_to_none=True)
        (loss + recipe.index_loss * divergence).backward()
        torch.nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
        optimiser.step()
        if step % 100 == 99 or step == recipe.steps - 1:
            log(
                step=step + 1, length=length, loss=round(loss.item(), 4), divergence=round(divergence.item(), 4),
                right=round(answered_right(logits, ids, learned), 4), seconds=round(time.perf_counter() - started, 1),
            )  # fmt: skip
    return {name: weight.detach().to(torch.bfloat16).cpu().contiguous() for name, weight in weights.items()}


def main() -> None:
    """Train, and write weights, log and digest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).parent / "weights"
    parser.add_argument("--out", type=Path, default=here, help="folder for model.safetensors and training.jsonl")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    defaults = asdict(Recipe())
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--layers", type=int, default=ModelConfig().layers)
    given = vars(parser.parse_args())
    recipe = Recipe(**{name: given[name] for name in defaults})
    config = ModelConfig(layers=given["layers"])
    given["out"].mkdir(parents=True, exist_ok=True)
    with (given["out"] / "training.jsonl").open("w") as stream:

        def log(**line: Any) -> None:
            text = json.dumps(line)
            stream.write(text + "\n")
            stream.flush()
            sys.stderr.write(text + "\n")

        device = torch.device(given["device"])
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        log(recipe=asdict(recipe), config=asdict(config), torch=str(torch.__version__), device=name)
        weights = train(recipe, config, device, log)
        data = save(weights, metadata={"config": json.dumps(asdict(config)), "recipe": json.dumps(asdict(recipe))})
        (given["out"] / "model.safetensors").write_bytes(data)
        log(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


if __name__ == "__main__":
    # Deterministic cuBLAS asks for this before its first call.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    main()
