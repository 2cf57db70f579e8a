"""Which heads, feed-forward units and channels of the stream a transformer can do without: by its weights, or by what data do to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmedge.distill.students.roles import groups, role


@dataclass(frozen=True)
class Importance:
    """The higher, the rather it stays."""

    inside: Mapping[str, Tensor]
    """Of an attention's heads (of its keys: those of the queries that share one stay together) or a layer's feed-forward units, by its name: float [count]."""
    stream: Tensor
    """float [hidden]."""


def by_weights(model: Any) -> Importance:
    """By magnitude (Han et al. 2015): the norm of what goes into a unit (or a head's values) times that of what comes back, and for a channel of the stream the
    norm of all that is written to it."""
    into: dict[str, Tensor] = {}
    back: dict[str, Tensor] = {}
    stream = torch.zeros(model.config.hidden_size)
    for name, weight in model.state_dict().items():
        its, squares = role(name), weight.float().square()
        if weight.ndim != 2:
            continue
        if its is None:
            stream += squares.mean(0) if weight.shape[1] == len(stream) else 0
        elif its.axes[0] == "stream":
            count = groups(model.config, its, weight.shape[1])
            back[its.where] = squares.sum(0).unflatten(0, (count, -1)).sum(1)
            stream += squares.sum(1)
        elif its.axes[0] in ("units", "values"):
            count = groups(model.config, its, len(weight))
            into[its.where] = into.get(its.where, torch.zeros(())) + squares.sum(1).unflatten(0, (count, -1)).sum(1)
    return Importance({where: (into[where] * back[where]).sqrt() for where in back if where in into}, stream.sqrt())


def by_data(model: Any, batches: Iterable[Mapping[str, Tensor]], loss: Callable[[Any], Tensor]) -> Importance:
    """By how much the loss would change without it, to the first order (heads: Michel et al. 2019; units: Molchanov et al. 2019), and by the variance of the
    stream's channels over all tokens and layers.

    Args:
        model: of transformers; gradients that it holds are lost.
        batches: its inputs. The papers take the mean over samples: give batches of one to do as they do.
        loss: of the model's output.
    """
    inside: dict[str, Tensor] = {}
    seen, total, squares = 0, torch.zeros(model.config.hidden_size), torch.zeros(model.config.hidden_size)
    for batch in batches:
        model.zero_grad(set_to_none=True)
        output = model(**batch, output_hidden_states=True)
        loss(output).backward()
        for name, weight in model.named_parameters():
            its = role(name)
            if weight.ndim == 2 and weight.grad is not None and its is not None and its.axes[0] == "stream":
                # The derivative by a gate on some columns is the sum of their weights times their gradients.
                gates = (weight * weight.grad).detach().sum(0).unflatten(0, (groups(model.config, its, weight.shape[1]), -1)).sum(1)
                inside[its.where] = inside.get(its.where, torch.zeros(())) + gates.abs()
        for states in (one for name in output if name.endswith("hidden_states") for one in output[name]):
            flat = states.detach().flatten(0, -2)
            seen, total, squares = seen + len(flat), total + flat.sum(0), squares + flat.square().sum(0)
    model.zero_grad(set_to_none=True)
    return Importance(inside, squares / seen - (total / seen).square())
