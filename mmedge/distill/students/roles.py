"""What each axis of a transformer's weights is made of, told by their names in transformers' models."""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

QUERY = {"query", "q_proj", "q_lin", "q"}
KEY = {"key", "k_proj", "k_lin", "k"}
VALUE = {"value", "v_proj", "v_lin", "v"}
BACK = {"out_proj", "o_proj", "out_lin", "o", "output.dense"}
INTO = {"fc1", "lin1", "gate_proj", "up_proj", "intermediate.dense"}
OUT = {"fc2", "lin2", "down_proj", "output.dense"}

LAYER = re.compile(r"(?P<layer>.*?\.?\d+)\.")
ATTENTION = re.compile(r"(?P<block>.*?\.?\d+\.(?:\w*attn|\w*attention))\.")

Axis = Literal["queries", "keys", "values", "units", "stream"]


class Role(NamedTuple):
    """Of a weight: the attention or layer whose heads or units it belongs to, and what its first and second axis are."""

    where: str
    axes: tuple[Axis, Axis]


def role(name: str) -> Role | None:
    """Of a parameter of a layer's attention or feed-forward part; None for all others, whose axes are told by their length alone."""
    parts = name.split(".")
    module = ".".join(parts[-3:-1]) if parts[-2:-1] == ["dense"] else parts[-2] if len(parts) > 1 else ""
    if found := ATTENTION.match(name):
        kinds: list[tuple[set[str], tuple[Axis, Axis]]] = [
            (QUERY, ("queries", "stream")),
            (KEY, ("keys", "stream")),
            (VALUE, ("values", "stream")),
            (BACK, ("stream", "queries")),
        ]
        where = found["block"]
    elif found := LAYER.match(name):
        kinds, where = [(INTO, ("units", "stream")), (OUT, ("stream", "units"))], found["layer"]
    else:
        return None
    return next((Role(where, axes) for modules, axes in kinds if module in modules), None)


def key_heads(config: Any, where: str) -> int:
    """How many heads of keys an attention has."""
    side = f"{'decoder' if 'decoder' in where.split('.') else 'encoder'}_attention_heads"
    own = getattr(config, side, None) or getattr(config, "num_key_value_heads", None)
    return own or config.num_attention_heads


def groups(config: Any, its: Role, length: int) -> int:
    """Into how many parts that stay or go as one an axis of this length falls: heads of keys, or single units."""
    return length if "units" in its.axes else key_heads(config, its.where)
