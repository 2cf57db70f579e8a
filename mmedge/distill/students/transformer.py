"""A smaller transformer out of a larger one of the same class: evenly spaced layers, and inside them the most important heads, units and channels.

TinyCLIP (Wu et al. 2023) calls it weight inheritance; DistilBERT (Sanh et al. 2019) takes every other layer, Distil-Whisper (Gandhi et al. 2023) the first
and the last of the decoder. The student's config says all of it, so that it is saved and loaded like any other model of transformers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmedge.distill.students.importance import Importance, by_weights
from mmedge.distill.students.roles import Axis, groups, key_heads, role
from mmedge.errors import MmedgeError, first_line
from mmedge.nets.efficientnet_lite import rounded

UNITS = ("intermediate_size", "hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim")
"""What configs call the number of feed-forward units."""


@dataclass(frozen=True)
class Kept:
    """What of the teacher a student has, in its order: positions in the teacher."""

    layers: Mapping[str, Sequence[int]]
    """By the name of the list of layers."""
    inside: Mapping[str, Tensor] = field(default_factory=dict)
    """Heads of keys by the name of their attention, units by the name of their layer, in the teacher: int64."""
    stream: Tensor | None = None
    """Channels between layers: int64."""


def evenly(count: int, kept: int) -> tuple[int, ...]:
    """``kept`` of ``count`` layers, the first and the last among them: 3 of 6 are 0, 2 and 5."""
    return tuple(round(number * (count - 1) / max(kept - 1, 1)) for number in range(kept))


def smaller(
    teacher: Any,
    *,
    depth: float = 1.0,
    width: float = 1.0,
    residual: float = 1.0,
    layers: Sequence[int] = (),
    importance: Importance | None = None,
) -> Any:
    """A new model of the teacher's class, in evaluation mode.

    Args:
        teacher: of transformers, with one list of equal layers; of an encoder-decoder the decoder's layers are chosen and the encoder's all stay.
        depth: fraction of the layers; or ``layers`` names them.
        width: fraction of the feed-forward units, and of the heads where the config gives a head's size (``head_dim``).
        residual: fraction of the stream between layers. Where a head's size is the stream's width over their number, heads go along.
        importance: by weights unless given.

    Raises:
        MmedgeError: it has no such layers, or its parts cannot be told apart.
    """
    stack = _stack(teacher)
    count = len(teacher.get_submodule(stack))
    chosen = tuple(layers) or evenly(count, max(1, round(count * depth)))
    if any(not 0 <= one < count for one in chosen) or list(chosen) != sorted(set(chosen)):
        raise MmedgeError(f"layers = {list(chosen)} does not fit a teacher with {count}", f"name some of 0 to {count - 1}, rising")
    config, kept = copy.deepcopy(teacher.config), Kept({stack: chosen})
    _tell_depth(config, stack, count, chosen)
    if width < 1 or residual < 1:
        kept = _narrow(teacher, config, kept, width, residual, importance or by_weights(teacher))
    return inherit(teacher, config, kept)


def _stack(teacher: Any) -> str:
    """The name of its list of layers, of the decoder if there is one."""
    counts = {getattr(teacher.config, name, None) for name in ("num_hidden_layers", "decoder_layers")}
    found = [name for name, module in teacher.named_modules() if isinstance(module, nn.ModuleList) and len(module) in counts and "layer" in name]
    outer = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    outer = [name for name in outer if "decoder" in name.split(".")] or outer
    if len(outer) != 1:
        raise MmedgeError(
            f"a {type(teacher).__name__} has {len(outer)} lists of layers to choose from",
            "give one tower of it, or a model whose layers differ in their weights only",
        )
    return outer[0]


def _tell_depth(config: Any, stack: str, count: int, chosen: Sequence[int]) -> None:
    setattr(config, "decoder_layers" if "decoder" in stack.split(".") else "num_hidden_layers", len(chosen))
    if isinstance(kinds := getattr(config, "layer_types", None), list) and len(kinds) == count:
        config.layer_types = [kinds[one] for one in chosen]


def _narrow(teacher: Any, config: Any, kept: Kept, width: float, residual: float, importance: Importance) -> Kept:
    """Writes the sizes into ``config``, and chooses what stays."""
    count = key_heads(teacher.config, "")
    hidden, free = teacher.config.hidden_size, getattr(teacher.config, "head_dim", None)
    fraction = max(1, round(count * (width if free else residual))) / count
    config.hidden_size = rounded(hidden * residual) if free else round(hidden * fraction)
    for name in ("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads", "num_key_value_heads"):
        if name in config.to_dict() and getattr(config, name) is not None:
            setattr(config, name, round(getattr(config, name) * fraction))
    for name in UNITS:
        if name in config.to_dict():
            setattr(config, name, rounded(getattr(config, name) * width))
    inside = {}
    for where, scores in importance.inside.items():
        attends = where.rsplit(".", 1)[-1].endswith(("attn", "attention"))
        inside[where] = _best(scores, round(len(scores) * fraction) if attends else rounded(len(scores) * width))
    return Kept(kept.layers, inside, _best(importance.stream, config.hidden_size))


def _best(scores: Tensor, count: int) -> Tensor:
    """In the order of the teacher."""
    return scores.topk(min(count, len(scores))).indices.sort().values


def inherit(teacher: Any, config: Any, kept: Kept) -> Any:
    """A new model of the teacher's class with this config, and of the teacher's weights what is kept.

    Raises:
        MmedgeError: the config and what is kept do not fit each other, or a weight's axes cannot be told.
    """
    try:
        student = like(teacher, config)
    except (ValueError, TypeError) as error:
        raise MmedgeError(f"no {type(teacher).__name__} is this small: {first_line(error)}", "choose other fractions") from error
    theirs = teacher.state_dict()
    sources = {name: _source(name, kept.layers) for name in student.state_dict()}
    if not theirs.keys() >= set(sources.values()):
        raise MmedgeError(f"the layers of a {type(teacher).__name__} are not all of one shape", "give a teacher whose layers are, or leave its depth as it is")
    student.load_state_dict({name: _cut(sources[name], theirs[sources[name]], one.shape, kept, teacher.config) for name, one in student.state_dict().items()})
    student.tie_weights()
    if getattr(teacher, "generation_config", None) is not None:
        student.generation_config = _generation(teacher.generation_config, list(kept.layers.values())[-1])
    return student.eval()


def like(teacher: Any, config: Any) -> Any:
    """A new model of the teacher's class, without a pooler where the teacher has none."""
    without = {"add_pooling_layer": False} if hasattr(teacher, "pooler") and teacher.pooler is None else {}
    return type(teacher)(config, **without).to(teacher.dtype)


def _generation(config: Any, layers: Sequence[int]) -> Any:
    """Whisper's times of words are read from some heads of some layers of the decoder, which have other numbers now, or are gone."""
    config = copy.deepcopy(config)
    if getattr(config, "alignment_heads", None):
        config.alignment_heads = [[list(layers).index(layer), head] for layer, head in config.alignment_heads if layer in layers]
    return config


def _source(name: str, layers: Mapping[str, Sequence[int]]) -> str:
    for stack, chosen in layers.items():
        if name.startswith(f"{stack}."):
            number, _, rest = name[len(stack) + 1 :].partition(".")
            return f"{stack}.{chosen[int(number)]}.{rest}" if int(number) < len(chosen) else ""
    return name


def _cut(name: str, weight: Tensor, shape: torch.Size, kept: Kept, config: Any) -> Tensor:
    its = role(name)
    for axis, size in enumerate(shape):
        kind: Axis | None = its.axes[axis] if its is not None and axis < 2 else "stream" if weight.shape[axis] == config.hidden_size else None
        index = kept.stream if kind == "stream" else None
        if kind not in (None, "stream") and its is not None and its.where in kept.inside:
            index = kept.inside[its.where]
            each = weight.shape[axis] // groups(config, its, weight.shape[axis])
            index = (index[:, None] * each + torch.arange(each)).flatten()
        if index is not None and len(index) == size:
            weight = weight.index_select(axis, index)
        elif weight.shape[axis] != size:
            raise MmedgeError(
                f"{name} is {list(weight.shape)}, and it is not known how to make it {list(shape)}", "give depth alone: this network cannot be made narrower"
            )
    return weight.clone()
