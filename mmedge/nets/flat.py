"""A module of transformers with tensors by name going in and coming out: caches and nested outputs are taken apart and put together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from transformers.exporters.exporter_dynamo import register_cache_pytrees_for_model
from transformers.exporters.utils import get_leaf_tensors

CACHE = re.compile(r"past_key_values\.(?:(self|cross)_attention_cache\.)?layers\.(\d+)\.(keys|values)")
KINDS = {("in", "self"): "past", ("in", "cross"): "cross", ("out", "self"): "present", ("out", "cross"): "cross"}


class Flat(nn.Module):
    """Called with its tensors by name; gives a dict of tensors.

    Args:
        module: what is called; ``model`` is the whole that it belongs to.
        inputs: keyword arguments of ``module`` as they were seen in a real call; what is no tensor in them stays as it is.
    """

    def __init__(self, module: nn.Module, model: Any, inputs: Mapping[str, Any]) -> None:
        super().__init__()
        self.module = module
        register_cache_pytrees_for_model(model)
        self._leaves, self._spec = pytree.tree_flatten(dict(inputs))
        paths = {id(tensor): path for path, tensor in get_leaf_tensors(dict(inputs)).items()}
        self.names = [name(paths[id(leaf)], "in") if isinstance(leaf, Tensor) else None for leaf in self._leaves]

    def tensors(self) -> dict[str, Tensor]:
        """The inputs it was made from."""
        return {key: leaf.clone() for key, leaf in zip(self.names, self._leaves) if key is not None}

    def forward(self, **tensors: Tensor) -> dict[str, Tensor]:
        leaves = [leaf if key is None else tensors[key] for key, leaf in zip(self.names, self._leaves)]
        found = self.module(**pytree.tree_unflatten(leaves, self._spec))
        if isinstance(found, Tensor):
            return {"output": found}
        # What goes in and comes out as it is, such as an encoder's states and the cache of what it gave, is no output.
        given = {id(tensor) for tensor in tensors.values()}
        return {key: value for path, value in get_leaf_tensors(found).items() if (key := name(path, "out")) not in tensors and id(value) not in given}


class Positional(nn.Module):
    """The same with tensors by position: how a graph is held against its module.

    Args:
        flat: the module with an example; ``others``: the same module with further ones.
        names: of the tensors that are given. The module still gets the rest, from the example whose sizes are those of what is given.
    """

    def __init__(self, flat: Flat, names: tuple[str, ...], others: tuple[Flat, ...] = ()) -> None:
        super().__init__()
        self.flat, self._names = flat, names
        self._examples = [one.tensors() for one in (flat, *others)]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self._names, tensors))
        fitting = (example for example in self._examples if all(example[key].shape == value.shape for key, value in given.items()))
        return tuple(value.contiguous() for value in self.flat(**{**next(fitting, {}), **given}).values())


def name(path: str, side: str) -> str:
    """``past_key_values.layers.0.keys`` going in is past_key_0, coming out present_key_0; other paths with _ between their parts."""
    if found := CACHE.fullmatch(path):
        return f"{KINDS[side, found[1] or 'self']}_{found[3].removesuffix('s')}_{found[2]}"
    return re.sub(r"\W+", "_", path)


def shapes(inputs: Mapping[str, Tensor]) -> dict[str, dict[int, Any]]:
    """Which axes may be dynamic: the batch; the length of texts, masks, sounds and states; what a cache holds. Pictures and spectrograms keep their size."""
    auto = torch.export.Dim.AUTO
    made: dict[str, dict[int, Any]] = {}
    for key, value in inputs.items():
        long = value.dim() == 2 or key == "bbox" or (value.dim() == 3 and key.endswith(("embeds", "hidden_state", "hidden_states")))
        cached = value.dim() == 4 and key.startswith(("past_", "cross_"))
        made[key] = {axis: auto for axis in range(value.dim()) if axis == 0 or (axis == 1 and long) or (axis == 2 and cached)}
    return made
