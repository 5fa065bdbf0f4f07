"""Shape of the embedded model: DeepSeek sparse attention in miniature, at the kernels' full widths."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """DeepSeek V3.2's attention (MLA latent, lightning indexer, top-k) around a small residual stream."""

    width: int = 256
    """Residual stream."""
    layers: int = 2
    """Decoder layers."""
    heads: int = 16
    """Query heads; all share the latent key."""
    nope: int = 32
    """Lanes of a head's query and key without position, before absorption."""
    value: int = 32
    """Lanes of a head's value, after absorption."""
    latent: int = 512
    """Compressed key and value of a token."""
    rope: int = 64
    """Lanes with position, of the attention and of the indexer."""
    index_heads: int = 8
    """Query heads of the indexer."""
    index_dim: int = 128
    """Lanes of an index key."""
    topk: int = 64
    """Keys that a query token attends to."""
    hidden: int = 1024
    """Lanes of the feed-forward layer."""
    positions: int = 4096
    """Rows of the cos/sin cache to begin with; a longer prompt makes it grow."""
    rope_base: float = 10_000.0
    """Base of the RoPE frequencies."""
    epsilon: float = 1e-6
    """Of the norms."""
    latent_range: float = 8.0
    """Largest latent or RoPE lane that the FP8 cache holds; its scale is this over the scaling maximum."""

    @property
    def scale(self) -> float:
        """Factor of the attention scores: (nope + rope) ** -0.5."""
        return (self.nope + self.rope) ** -0.5

    @property
    def index_scale(self) -> float:
        """Factor of the index scores: index_dim ** -0.5 * index_heads ** -0.5."""
        return (self.index_dim * self.index_heads) ** -0.5


def parameter_shapes(config: ModelConfig, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Every weight and its shape, projections as [in, out]."""
    c = config
    layer: dict[str, tuple[int, ...]] = {
        "attention_norm": (c.width,),
        "query": (c.width, c.heads * (c.nope + c.rope)),
        "latent": (c.width, c.latent + c.rope),
        "latent_norm": (c.latent,),
        "key_up": (c.heads, c.nope, c.latent),
        "value_up": (c.heads, c.latent, c.value),
        "output": (c.heads * c.value, c.width),
        "index_query": (c.width, c.index_heads * c.index_dim),
        "index_key": (c.width, c.index_dim),
        "index_key_gain": (c.index_dim,),
        "index_key_bias": (c.index_dim,),
        "index_weights": (c.width, c.index_heads),
        "mlp_norm": (c.width,),
        "gate": (c.width, c.hidden),
        "up": (c.width, c.hidden),
        "down": (c.hidden, c.width),
    }
    layers = {f"{n}.{name}": shape for n in range(c.layers) for name, shape in layer.items()}
    return {"embedding": (vocabulary, c.width), **layers, "norm": (c.width,)}
