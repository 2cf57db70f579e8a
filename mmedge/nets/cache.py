"""Key/value caches as plain tensors, for decoders of transformers: what goes in is a flat list, what comes out is a flat list, and nothing is kept.

Tensors: per layer a key and a value, float32 [batch, key heads, past, head_dim]; names as in ``mmedge.generate.cache``.
A cache that grows is transformers' own DynamicCache, made anew in every call. A fixed one has its full length from the start, and the new rows are written at
``past_length``: with ScatterND, which every opset has (its ``present`` is another buffer than its ``past``), or with TensorScatter (opset 24), which may be
done in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from mmedge.target import Scatter

ATTENTION = "mmedge"
"""The name under which ``attend`` is known to transformers: ``model.set_attn_implementation(ATTENTION)``."""


def names(kind: str, layers: int) -> list[str]:
    """``past`` -> past_key_0, past_value_0, past_key_1, ..."""
    return [f"{kind}_{part}_{index}" for index in range(layers) for part in ("key", "value")]


def growing(past: Sequence[Tensor]) -> DynamicCache:
    """A cache that holds ``past`` (key 0, value 0, key 1, ...), whose length may be 0."""
    return DynamicCache([(past[index], past[index + 1]) for index in range(0, len(past), 2)])


def fixed(past: Sequence[Tensor], past_length: Tensor, scatter: Scatter) -> Cache:
    """A cache of fixed length, of which the first ``past_length`` (int64 [1]) rows are filled."""
    return Cache(layers=[FixedLayer(past[index], past[index + 1], past_length, scatter) for index in range(0, len(past), 2)])


def flat(cache: Cache) -> list[Tensor]:
    """key 0, value 0, key 1, ... as they are after a forward."""
    layers: list[Any] = cache.layers
    return [tensor for layer in layers for tensor in (layer.keys, layer.values)]


def positions(tokens: int, past_length: int | Tensor) -> Tensor:
    """int64 [1, tokens]: where the new tokens stand."""
    return (torch.arange(tokens) + past_length).unsqueeze(0)


def causal_mask(tokens: int, total: int, past_length: int | Tensor) -> Tensor:
    """float32 [1, 1, tokens, total]: 0 where a new token may look (itself and everything before it), the lowest float elsewhere.

    Handed to transformers as it is, it replaces the mask that transformers would build.
    """
    allowed = torch.arange(total)[None, :] <= (torch.arange(tokens) + past_length)[:, None]
    return torch.where(allowed, 0.0, torch.finfo(torch.float32).min)[None, None]


class FixedLayer(CacheLayerMixin):
    """One layer's share of a fixed cache."""

    is_sliding = False

    def __init__(self, keys: Tensor, values: Tensor, past_length: Tensor, scatter: Scatter) -> None:
        super().__init__()
        self.keys, self.values, self._past_length, self._scatter = keys, values, past_length, scatter
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        return None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        assert self.keys is not None
        assert self.values is not None
        self.keys, self.values = (self._write(old, new) for old, new in ((self.keys, key_states), (self.values, value_states)))
        return self.keys, self.values

    def _write(self, cache: Tensor, rows: Tensor) -> Tensor:
        if self._scatter == "TensorScatter" and torch.onnx.is_in_onnx_export():
            written: Tensor = torch.onnx.ops.symbolic(
                "TensorScatter", (cache, rows, self._past_length), attrs={"axis": -2}, dtype=cache.dtype, shape=cache.shape, version=24
            )
            return written
        return cache.index_copy(2, torch.arange(rows.shape[2]) + self._past_length, rows)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_max_length(), 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        assert self.keys is not None
        return int(self.keys.shape[2])


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None, dropout: float = 0.0, **_: Any
) -> tuple[Tensor, None]:
    """Attention for transformers, written out for export: no repeated keys for grouped queries, no guard against rows that see nothing.

    Shapes: query [batch, heads, tokens, head_dim], key and value [batch, key heads, total, head_dim]; neighbouring query heads share a key head.
    """
    batch, heads, tokens, head_dim = query.shape
    groups = heads // key.shape[1]
    scale = head_dim**-0.5 if scaling is None else scaling
    scaled = query if scale == 1 else query * scale
    grouped = scaled.reshape(batch, key.shape[1], groups * tokens, head_dim) if groups > 1 else scaled
    scores = grouped @ key.transpose(2, 3)
    if attention_mask is not None:
        mask = attention_mask[..., : key.shape[2]]
        scores = scores + (mask.repeat(1, 1, groups, 1) if groups > 1 else mask)
    mixed = scores.softmax(-1) @ value
    return mixed.reshape(batch, heads, tokens, head_dim).transpose(1, 2), None


AttentionInterface.register(ATTENTION, attend)
