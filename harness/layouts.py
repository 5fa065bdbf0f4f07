"""Paged cache layouts as index maps: (token of the page, byte of the token's record) → byte of the page.

`Layout.offset` is the only place where a byte's position is computed; packing, unpacking, addresses, the
inverse and the checkers derive from it.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.errors import RocassayError

if TYPE_CHECKING:
    import torch

Index: TypeAlias = int | np.integer | NDArray[np.integer]
"""A token, byte or block index, or an array of them; arrays broadcast."""

Cache: TypeAlias = "NDArray[np.uint8] | torch.Tensor"
"""A paged cache as 2-D uint8, one page a row: an array, or a tensor on the CPU, with any row stride."""

TILE = 16
"""SHUFFLE tiles are 16 tokens × 16 bytes (vLLM rocm_aiter_mla_sparse.py)."""

_SCALE_BYTES = 4
_DSV4_DATA_BYTES = 576
_DSV4_SCALE_BYTES = 8


class LayoutError(RocassayError, ValueError):
    """A block size, index, slot or buffer that the layout cannot hold."""


@dataclass(frozen=True, slots=True)
class Field:
    """A named byte range [start, stop) of a token's record."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each byte of each token's record lies in a page.

    A page has two planes: the first ``split`` bytes of all its records, then the rest of all its records.
    With ``split == token_bytes`` the records follow each other whole.
    """

    name: str
    """NORMAL, SHUFFLE, planar_584, interleaved_584 or interleaved_656."""

    block_size: int
    """Tokens of a page."""

    token_bytes: int
    """Bytes of one token's record."""

    split: int
    """Bytes of each record that lie in the page's first plane."""

    tiled: bool
    """Whether the first plane is an array [block_size/16][split/16][16 tokens][16 bytes]."""

    default_block_stride: int
    """Bytes from page to page in an allocation of its own; a cache tensor's own stride(0) decides."""

    fields: tuple[Field, ...]
    """The parts of a record, in order, without gaps."""

    @property
    def page_bytes(self) -> int:
        """Payload bytes of a page, without padding up to the block stride."""
        return self.block_size * self.token_bytes

    def offset(self, token: Index, byte: Index) -> NDArray[np.int64]:
        """Position inside the page of byte ``byte`` of the record of token ``token``, int64, broadcast.

        Raises `LayoutError` for an index outside the page or the record.
        """
        token = _index("token", token, self.block_size)
        byte = _index("byte", byte, self.token_bytes)
        if self.tiled:
            tile = token // TILE * (TILE * self.split) + byte // TILE * (TILE * TILE)
            first = tile + token % TILE * TILE + byte % TILE
        else:
            first = token * self.split + byte
        second = self.block_size * self.split + token * (self.token_bytes - self.split) + (byte - self.split)
        return np.where(byte < self.split, first, second)

    def address(self, block: Index, token: Index, byte: Index, *, block_stride: int | None = None) -> NDArray[np.int64]:
        """Position in the cache, in bytes from its first page, int64, broadcast.

        ``block_stride`` is the cache's stride(0) in bytes and defaults to ``default_block_stride``.
        """
        stride = self.default_block_stride if block_stride is None else block_stride
        return np.asarray(block, dtype=np.int64) * stride + self.offset(token, byte)

    def inverse(self) -> NDArray[np.int64]:
        """token·token_bytes + byte for each byte of the page, int64[page_bytes], −1 where no record is."""
        return _inverse(self)

    def locate(self, offset_in_page: int) -> tuple[int, int] | None:
        """The (token, byte) stored at a position of the page, or None for a position that holds no record."""
        if not 0 <= offset_in_page < self.page_bytes:
            return None
        record = int(self.inverse()[offset_in_page])
        return None if record < 0 else divmod(record, self.token_bytes)

    def field(self, name: str) -> Field:
        """A part of the record by name; raises `LayoutError`."""
        for field in self.fields:
            if field.name == name:
                return field
        known = ", ".join(field.name for field in self.fields)
        raise LayoutError(f"layout {self.name} has no field {name!r}; use one of {known}")

    def pack(self, records: NDArray[np.uint8], slots: NDArray[np.integer], cache: Cache) -> None:
        """Write records uint8[N, token_bytes] into their slots of the cache, in place.

        Slot s is token s mod block_size of page s // block_size. Negative slots are skipped and other bytes
        stay; of equal slots the last record wins. Raises `LayoutError` for shapes and slots that do not fit.
        """
        if records.shape != (len(slots), self.token_bytes):
            raise LayoutError(
                f"records have shape {records.shape}, but {len(slots)} slots of layout {self.name} need"
                f" ({len(slots)}, {self.token_bytes}); pass one whole record for each slot"
            )
        pages = self._pages(cache)
        kept = np.flatnonzero(slots >= 0)
        pages[self._positions(slots[kept], len(pages))] = records[kept]

    def unpack(self, cache: Cache, slots: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Records of the slots, uint8[N, token_bytes]; raises `LayoutError` for a slot outside the cache."""
        pages = self._pages(cache)
        return pages[self._positions(slots, len(pages))]

    def _positions(self, slots: NDArray[np.integer], num_blocks: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        slots = _index("slot", slots, num_blocks * self.block_size)
        block, token = np.divmod(slots, self.block_size)
        return block[:, None], self.offset(token[:, None], np.arange(self.token_bytes))

    def _pages(self, cache: Cache) -> NDArray[np.uint8]:
        if not isinstance(cache, np.ndarray):
            if cache.device.type != "cpu":
                raise LayoutError(f"the cache is on {cache.device}; move it to the CPU first")
            cache = cache.numpy()
        if cache.dtype != np.uint8 or cache.ndim != 2 or cache.shape[1] < self.page_bytes:
            raise LayoutError(
                f"the cache is {cache.dtype} of shape {cache.shape}, but layout {self.name} needs uint8"
                f" [blocks, {self.page_bytes} or more]; view it as one page of bytes a row"
            )
        return cache


def _index(what: str, index: Index, limit: int) -> NDArray[np.int64]:
    """The index as int64; raises `LayoutError` unless all of it lies in [0, limit)."""
    index = np.asarray(index, dtype=np.int64)
    if index.size and (index.min() < 0 or index.max() >= limit):
        worst = int(index.min()) if index.min() < 0 else int(index.max())
        raise LayoutError(f"{what} {worst} is outside [0, {limit}); pass indices of this layout")
    return index


@lru_cache(maxsize=64)
def _inverse(layout: Layout) -> NDArray[np.int64]:
    token = np.arange(layout.block_size)[:, None]
    byte = np.arange(layout.token_bytes)
    inverse = np.full(layout.page_bytes, -1, dtype=np.int64)
    inverse[layout.offset(token, byte)] = token * layout.token_bytes + byte
    inverse.flags.writeable = False
    return inverse


def _layout(
    name: str,
    block_size: int,
    fields: tuple[Field, ...],
    *,
    split: int,
    tiled: bool = False,
    stride_multiple: int = 1,
) -> Layout:
    if block_size < 1:
        raise LayoutError(f"block size {block_size} is below 1; a page holds at least one token")
    token_bytes = fields[-1].stop
    payload = block_size * token_bytes
    stride = -(-payload // stride_multiple) * stride_multiple
    return Layout(name, block_size, token_bytes, split, tiled, stride, fields)


def _indexer_fields(head_dim: int) -> tuple[Field, ...]:
    return Field("values", 0, head_dim), Field("scale", head_dim, head_dim + _SCALE_BYTES)


def normal(block_size: int, head_dim: int = 128) -> Layout:
    """Indexer page, block-flat: the FP8 values of all tokens in order, then one fp32 scale a token.

    vLLM rocm_aiter_mla_sparse.py, layout NORMAL. Raises `LayoutError`.
    """
    return _layout("NORMAL", block_size, _indexer_fields(head_dim), split=head_dim)


def shuffle(block_size: int, head_dim: int = 128) -> Layout:
    """Indexer page, block-flat, whose values lie in tiles of 16 tokens × 16 bytes; scales as in NORMAL.

    vLLM rocm_aiter_mla_sparse.py, layout SHUFFLE. Raises `LayoutError` unless block size and head dimension
    are multiples of 16: a partial tile would reach past the page (vllm-project/vllm#43781).
    """
    if block_size % TILE or head_dim % TILE:
        raise LayoutError(
            f"SHUFFLE cannot hold block size {block_size} with head dimension {head_dim}:"
            f" both must be multiples of {TILE}; use NORMAL"
        )
    return _layout("SHUFFLE", block_size, _indexer_fields(head_dim), split=head_dim, tiled=True)


def indexer_layout(name: Literal["NORMAL", "SHUFFLE"], block_size: int) -> Layout:
    """Indexer layout by name, 132 bytes a token; raises `LayoutError`."""
    if name == "NORMAL":
        return normal(block_size)
    if name == "SHUFFLE":
        return shuffle(block_size)
    raise LayoutError(f"indexer layout {name!r} is unknown; use NORMAL or SHUFFLE")


_FIELDS_584 = (
    Field("nope", 0, 448),
    Field("rope", 448, 576),
    Field("scales", 576, 583),
    Field("pad", 583, 584),
)


def planar_584(block_size: int) -> Layout:
    """DeepSeek V4 ``fp8_ds_mla`` page: 576 data bytes of each token, then 8 scale bytes of each token.

    448 FP8 NoPE, 64 bf16 RoPE, 7 ue8m0 scales and a pad byte; pages start at multiples of 576 bytes
    (vLLM deepseek_v4 cache_utils.py). Raises `LayoutError`.
    """
    return _layout("planar_584", block_size, _FIELDS_584, split=_DSV4_DATA_BYTES, stride_multiple=_DSV4_DATA_BYTES)


def interleaved_584(block_size: int) -> Layout:
    """The mistaken reading of the 584-byte page, each token's scales right behind its data.

    No cache is stored this way; it exists so that tests can tell it from `planar_584`, with which it
    coincides only for block size 1 (vllm-project/vllm#41812, review). Raises `LayoutError`.
    """
    whole = _DSV4_DATA_BYTES + _DSV4_SCALE_BYTES
    return _layout("interleaved_584", block_size, _FIELDS_584, split=whole, stride_multiple=_DSV4_DATA_BYTES)


def interleaved_656(block_size: int) -> Layout:
    """DeepSeek V3.2 ``fp8_ds_mla`` page: whole records of 512 FP8 latents, 4 fp32 scales and 64 bf16 RoPE.

    vLLM DeepSeek MLA cache writer. Raises `LayoutError`.
    """
    fields = (Field("latent", 0, 512), Field("scales", 512, 528), Field("rope", 528, 656))
    return _layout("interleaved_656", block_size, fields, split=656)
