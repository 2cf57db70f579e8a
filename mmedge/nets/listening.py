"""What encoder-decoder models share: attention written out, and a sound's keys and values laid out for the decoder once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def heads(states: Tensor, head_dim: int) -> Tensor:
    """[batch, n, width] -> [batch, heads, n, head_dim]."""
    return states.unflatten(-1, (-1, head_dim)).transpose(1, 2)


def mix(query: Tensor, key_columns: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention; queries are scaled already, keys come as columns [batch, heads, head_dim, n]. Returns [batch, queries, width].

    Written out, because the exporter turns scaled_dot_product_attention into a form that guards against fully masked rows, which cannot occur here.
    """
    scores = query @ key_columns
    if mask is not None:
        scores = scores + mask
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


def cross(heard: Tensor, attentions: Iterable[Any], head_dim: int) -> tuple[Tensor, ...]:
    """cross_key_0 [batch, heads, head_dim, n], cross_value_0 [batch, heads, n, head_dim], cross_key_1, ... for what an encoder heard [batch, n, width].

    Keys are given as columns: a decoder multiplies by them in every step, and would otherwise transpose them in every step.
    """
    outputs: list[Tensor] = []
    for attention in attentions:
        outputs += [heads(attention.k_proj(heard), head_dim).transpose(2, 3), heads(attention.v_proj(heard), head_dim)]
    return tuple(outputs)


def excerpt(outputs: Iterable[Tensor], part: float = 0.5) -> list[Tensor]:
    """The first part of keys and values as ``cross`` gives them: a shorter example for the decoder."""
    return [torch.narrow(tensor, axis, 0, max(1, int(tensor.shape[axis] * part))).contiguous() for tensor, axis in zip(outputs, itertools.cycle((3, 2)))]


def axes(layers: int) -> dict[str, dict[int, str]]:
    """Where the decoder's cross inputs have the length of what was heard."""
    return {f"cross_{part}_{index}": {axis: "heard"} for index in range(layers) for part, axis in (("key", 3), ("value", 2))}
