"""The embedded model's attention: every step of it is an op of this project, through a provider and an engine."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from rocassay.harness.fp8 import format_of
from rocassay.suites.gsm8k.calls import Calls
from rocassay.suites.gsm8k.config import ModelConfig
from rocassay.suites.gsm8k.network import cos_sin_cache, index_key, rms_norm
from rocassay.suites.gsm8k.paging import INDEX_RECORD, Batch, Caches

_VECTOR = 4
"""fp32 scores that a top-k kernel may load at once; rows of logits are whole vectors."""


class SparseAttention:
    """DeepSeek V3.2's attention on ROCm: indexer, top-k, ragged slots, MLA decode over the FP8 cache."""

    def __init__(self, config: ModelConfig, calls: Calls) -> None:
        self.config, self.calls = config, calls
        self._table = cos_sin_cache(config, config.positions).to(calls.engine.device)
        scale = config.latent_range / format_of(calls.fp8).scaling_max
        self._kv_scale = torch.tensor([scale], device=calls.engine.device)

    def __call__(
        self, h: torch.Tensor, weights: Mapping[str, torch.Tensor], batch: Batch, caches: Caches, layer: int
    ) -> torch.Tensor:
        """Update of the residual stream, fp32 [T, width], from the normed stream h, fp32 [T, width]."""
        if batch.longest > len(self._table):
            rows = 1 << (batch.longest - 1).bit_length()
            self._table = cos_sin_cache(self.config, rows).to(self._table.device)
        query = self._cache_latents(h, weights, batch, caches.latent[layer])
        index_query, index_weights = self._cache_index_keys(h, weights, batch, caches.index[layer])
        select = self._select_decode if batch.decoding else self._select_prefill
        chosen = select(index_query, index_weights, batch, caches.index[layer])
        mixed = self._attend(query, chosen, batch, caches.latent[layer])
        values = torch.einsum("thl,hlv->thv", mixed.float(), weights["value_up"])
        return values.flatten(1) @ weights["output"]

    def _empty(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=self.calls.engine.device)

    def _cache_latents(
        self, h: torch.Tensor, weights: Mapping[str, torch.Tensor], batch: Batch, cache: torch.Tensor
    ) -> torch.Tensor:
        """Write latent and rotated key; returns the absorbed queries, bf16 [T, heads, latent + rope]."""
        c, tokens = self.config, len(h)
        q_nope, q_rope = (h @ weights["query"]).view(tokens, c.heads, c.nope + c.rope).split([c.nope, c.rope], dim=-1)
        latent, k_rope = (h @ weights["latent"]).split([c.latent, c.rope], dim=-1)
        latent = rms_norm(latent, weights["latent_norm"], c.epsilon).to(torch.bfloat16)
        q_rope, k_rope = q_rope.to(torch.bfloat16).contiguous(), k_rope.to(torch.bfloat16).contiguous()
        self.calls(
            "apply_rope",
            {"tensor": "mla", "tokens": tokens, "heads": c.heads},
            positions=batch.positions,
            q=q_rope,
            k=k_rope[:, None],
            cos_sin_cache=self._table,
        )
        self.calls(
            "concat_and_cache_mla",
            {"kv_cache_dtype": "fp8"},
            kv_c=latent,
            k_pe=k_rope,
            kv_cache=cache,
            slot_mapping=batch.slots(self.calls.block_size),
            scale=self._kv_scale,
        )
        absorbed = torch.einsum("thn,hnl->thl", q_nope, weights["key_up"]).to(torch.bfloat16)
        return torch.cat([absorbed, q_rope], dim=-1)

    def _cache_index_keys(
        self, h: torch.Tensor, weights: Mapping[str, torch.Tensor], batch: Batch, cache: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write index keys; returns index queries, codes [T, index_heads, 128], and head weights, fp32."""
        c, tokens = self.config, len(h)
        codes = self._empty(tokens, c.index_heads, c.index_dim, dtype=torch.uint8)
        head_weights = self._empty(tokens, c.index_heads, dtype=torch.float32)
        self.calls(
            "indexer_forward",
            {
                "tensor": "v32_indexer",
                "rope": "custom_op",
                "path": "unfused",
                "out": "self",
                "tokens": tokens,
                "heads": c.index_heads,
                "ratio": 1,
            },
            positions=batch.positions,
            q=(h @ weights["index_query"]).view(tokens, c.index_heads, c.index_dim).to(torch.bfloat16),
            k=index_key(h, weights, c).to(torch.bfloat16),
            weights=h @ weights["index_weights"],
            cos_sin_cache=self._table,
            slot_mapping=batch.slots(self.calls.block_size),
            q_fp8=codes,
            weights_out=head_weights,
            kv_cache=cache,
            q_scale=torch.empty_like(head_weights),
        )
        return codes, head_weights

    def _select_decode(
        self, query: torch.Tensor, weights: torch.Tensor, batch: Batch, cache: torch.Tensor
    ) -> torch.Tensor:
        """Places of the best keys of each request's one token, int32 [B, topk]: scores straight from the pages."""
        rows, columns = len(query), -(-batch.longest // _VECTOR) * _VECTOR
        logits = self._empty(rows, columns, dtype=torch.float32)
        self.calls(
            "fp8_paged_mqa_logits",
            {"ratio": 1, "path": "auto"},
            q_fp8=query[:, None],
            kv_cache=cache.view(len(cache), self.calls.block_size, INDEX_RECORD),
            weights=weights,
            context_lens=batch.lengths,
            block_tables=batch.table,
            logits=logits,
            max_model_len=columns,
        )
        chosen = self._empty(rows, self.config.topk, dtype=torch.int32)
        params = {"lengths": columns, "k": self.config.topk, "path": "auto"}
        self.calls("top_k_per_row_decode", params, logits=logits, seq_lens=batch.lengths, indices=chosen, next_n=1)
        return chosen

    def _select_prefill(
        self, query: torch.Tensor, weights: torch.Tensor, batch: Batch, cache: torch.Tensor
    ) -> torch.Tensor:
        """Places of the best keys of every token, int32 [T, topk]: scores of gathered keys within windows."""
        tokens, keys = len(query), batch.keys
        starts, ends = self._empty(tokens, dtype=torch.int32), self._empty(tokens, dtype=torch.int32)
        bounds = torch.empty_like(batch.starts)
        owners = self._empty(keys, dtype=torch.int32)
        self.calls(
            "indexer_prefill_windows",
            {"ratio": 1},
            query_start_loc=batch.starts,
            seq_lens=batch.lengths,
            ks=starts,
            ke=ends,
            cu_seqlen=bounds,
            token_to_seq=owners,
            compress_ratio=1,
        )
        codes = self._empty(keys, self.config.index_dim, dtype=torch.uint8)
        scales = self._empty(keys, dtype=torch.float32)
        self.calls(
            "cp_gather_indexer_k_quant_cache",
            {"ratio": 1},
            kv_cache=cache,
            k_fp8=codes,
            k_fp8_scale=scales,
            block_table=batch.table,
            cu_seqlen=bounds,
            token_to_seq=owners,
        )
        columns = -(-keys // _VECTOR) * _VECTOR
        logits = self._empty(tokens, columns, dtype=torch.float32)[:, :keys]
        self.calls(
            "fp8_mqa_logits",
            {},
            q_fp8=query,
            k_fp8=codes,
            k_scale=scales,
            weights=weights,
            ks=starts,
            ke=ends,
            logits=logits,
            clean_logits=False,
        )
        chosen = self._empty(tokens, self.config.topk, dtype=torch.int32)
        params = {"lengths": batch.longest, "k": self.config.topk, "path": "auto"}
        self.calls("top_k_per_row_prefill", params, logits=logits, row_starts=starts, row_ends=ends, indices=chosen)
        return chosen

    def _attend(self, query: torch.Tensor, chosen: torch.Tensor, batch: Batch, cache: torch.Tensor) -> torch.Tensor:
        """Latent outputs, bf16 [T, heads, latent]: every token is a request of one query over single-token pages."""
        c, tokens = self.config, len(query)
        slots = self._empty(tokens * c.topk, dtype=torch.int32)
        bounds = self._empty(tokens + 1, dtype=torch.int32)
        self.calls(
            "compute_global_topk_ragged_indices_and_indptr",
            {"topk": c.topk, "mode": "legacy", "tokens": tokens},
            topk_indices=chosen,
            token_to_req_indices=batch.request,
            block_table=batch.table,
            is_valid_token=torch.ones(tokens, dtype=torch.bool, device=query.device),
            ragged=slots,
            indptr=bounds,
            lens=self._empty(tokens, dtype=torch.int32),
            block_size=self.calls.block_size,
        )
        output = self._empty(tokens, c.heads, c.latent, dtype=torch.bfloat16)
        self.calls(
            "mla_decode_fwd",
            {
                "path": "plain",
                "dtype": "mixed",
                "heads": c.heads,
                "qlen": 1,
                "keys": c.topk,
                # The selected keys are one tile: there is nothing to split.
                "workers": 1,
                "causal": 1,
            },
            page_size=1,
            q=query,
            kv_buffer=cache.view(-1, 1, 1, c.latent + c.rope),
            o=output,
            qo_indptr=torch.arange(tokens + 1, dtype=torch.int32, device=query.device),
            kv_indptr=bounds,
            kv_indices=slots,
            kv_last_page_lens=torch.ones(tokens, dtype=torch.int32, device=query.device),
            max_seqlen_q=1,
            sm_scale=c.scale,
            logits=self._empty(tokens, 1, c.heads, c.latent, dtype=torch.float32),
            attn_lse=self._empty(tokens, 1, c.heads, dtype=torch.float32),
            causal=1,
            kv_scale=self._kv_scale,
        )
        return output
