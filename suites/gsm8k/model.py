"""The embedded model: tokens in, most likely next token out, its attention on this project's ops."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from rocassay.harness.errors import RocassayError
from rocassay.suites.gsm8k.attention import SparseAttention
from rocassay.suites.gsm8k.calls import Calls
from rocassay.suites.gsm8k.config import ModelConfig, parameter_shapes
from rocassay.suites.gsm8k.network import feed_forward, layer_weights, rms_norm
from rocassay.suites.gsm8k.paging import Batch, Caches
from rocassay.suites.gsm8k.tokenizer import Tokenizer

WEIGHTS = Path(__file__).parent / "weights" / "model.safetensors"
"""The weights that `train` made."""


class WeightsError(RocassayError):
    """The weights are missing or are no weights of this model."""


def load(path: Path = WEIGHTS) -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    """Shape and fp32 weights on the CPU; WeightsError when the file is not what `train` writes."""
    try:
        with safe_open(path, framework="pt") as file:
            config = ModelConfig(**json.loads(file.metadata()["config"]))
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"cannot read weights from {path} ({type(error).__name__}: {error}); "
            "train them with `python -m rocassay.suites.gsm8k.train`"
        ) from error
    wanted = parameter_shapes(config, Tokenizer().size)
    for name, shape in wanted.items():
        have = tuple(weights[name].shape) if name in weights else None
        if have != shape:
            raise WeightsError(f"weight {name} of {path} is {have}, the model needs {shape}; train it again")
    return config, weights


@dataclass(slots=True)
class SparseModel:
    """Weights on a device, and the attention that runs there."""

    config: ModelConfig
    weights: Mapping[str, torch.Tensor]
    attention: SparseAttention

    @classmethod
    def on(cls, calls: Calls, path: Path = WEIGHTS) -> SparseModel:
        """The shipped model on the calls' engine."""
        config, weights = load(path)
        device = calls.engine.device
        return cls(config, {name: w.to(device) for name, w in weights.items()}, SparseAttention(config, calls))

    @property
    def calls(self) -> Calls:
        """The ops it runs on."""
        return self.attention.calls

    def caches(self, pages: int) -> Caches:
        """Caches of their own."""
        return Caches.empty(self.config, pages, self.calls.block_size, self.calls.engine.device)

    @torch.no_grad()
    def step(self, batch: Batch, caches: Caches) -> torch.Tensor:
        """Write the batch's tokens to the caches; most likely next token of each request, int64 [B]."""
        x = self.weights["embedding"][batch.ids]
        for layer in range(self.config.layers):
            weights = layer_weights(self.weights, layer)
            h = rms_norm(x, weights["attention_norm"], self.config.epsilon)
            x = x + self.attention(h, weights, batch, caches, layer)
            x = x + feed_forward(x, weights, self.config)
        last = rms_norm(x[batch.last], self.weights["norm"], self.config.epsilon)
        return (last @ self.weights["embedding"].T).argmax(dim=-1)


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Length of the longest beginning that all rows share, at least one token short of the shortest row."""
    shortest = min(len(row) for row in rows) - 1
    first = rows[0]
    return next((n for n in range(shortest) if any(row[n] != first[n] for row in rows)), shortest)
