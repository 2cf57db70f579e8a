"""A text decoder as one graph that reads the prompt and makes the next tokens: the cache's two forms are the same module with another cache in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmedge.family import TorchGraph
from mmedge.nets.cache import causal_mask, fixed, flat, growing, names, positions
from mmedge.target import Scatter


class Decoder(nn.Module):
    """Inputs in the order of ``inputs``, then ``past_length`` (fixed only), then the past -> logits and the present.

    Args:
        body: called as ``body(inputs, cache, mask, positions)``: inputs by name, transformers' cache object, a causal mask float32 [1, 1, tokens, total],
            positions int64 [1, tokens]. Gives logits float32 [1, 1, vocabulary] of the last token (or of all tokens).
        inputs: names; the first is the tokens, ``input_ids`` [1, tokens] or ``inputs_embeds`` [1, tokens, width].
    """

    def __init__(self, body: nn.Module, inputs: tuple[str, ...], scatter: Scatter | None = None) -> None:
        super().__init__()
        self.body, self.inputs, self.scatter = body, inputs, scatter

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given, past = dict(zip(self.inputs, tensors)), tensors[len(self.inputs) :]
        tokens = given[self.inputs[0]].shape[1]
        if self.scatter is not None:
            past_length, *past = past  # type: ignore[assignment]
            cache, total, before = fixed(past, past_length, self.scatter), past[0].shape[2], past_length
        else:
            cache, total, before = growing(past), past[0].shape[2] + tokens, past[0].shape[2]  # type: ignore[assignment]
        logits = self.body(given, cache, causal_mask(tokens, total, before), positions(tokens, before))
        return (logits, *flat(cache))


def decoder_graph(
    body: nn.Module,
    *,
    prompt: Mapping[str, Tensor],
    step: Mapping[str, Tensor],
    dynamic: Mapping[str, dict[int, str]],
    layers: int,
    heads: int,
    head_dim: int,
    context: int,
) -> TorchGraph:
    """The graph of a decoder with a growing cache, and on demand with a fixed one.

    Examples, and so golden data: ``step`` after the past that ``prompt`` really leaves, and ``prompt`` after an empty past.

    Args:
        prompt, step: inputs by name, the tokens first; ``step`` holds two tokens or more (torch takes a size of 1 for a constant).
            Their other sizes should differ.
        dynamic: input -> axis -> name; the tokens' axis is ``{1: "tokens"}``.
        heads, head_dim: of the keys.
        context: length of the fixed cache, prompt included.
    """
    inputs = tuple(prompt)
    cache = names("past", layers)

    def graph(scatter: Scatter | None) -> TorchGraph:
        module = Decoder(body, inputs, scatter).eval()
        empty = [torch.zeros(1, heads, context if scatter else 0, head_dim)] * (2 * layers)
        zero, filled = ({"past_length": torch.tensor([count])} if scatter else {} for count in (0, prompt[inputs[0]].shape[1]))
        with torch.no_grad():
            _, *past = module(*prompt.values(), *zero.values(), *empty)
        grows: dict[str, dict[int, str]] = {} if scatter else {name: {2: "past"} for name in cache}
        return TorchGraph(
            module,
            inputs={**step, **filled, **dict(zip(cache, past))},
            outputs=("logits", *names("present", layers)),
            dynamic={**dynamic, **grows},
            other={**prompt, **zero, **dict(zip(cache, empty))},
            fixed=None if scatter else graph,
        )

    return graph(None)


def last(states: Tensor) -> Tensor:
    """[1, tokens, width] -> [1, 1, width]: only what follows the last token is asked for, and a vocabulary is wide."""
    return states[:, -1:]


def set_attention(model: Any) -> None:
    """Give every attention layer of a decoder the form that exports cleanly; see ``mmedge.nets.cache.attend``."""
    from mmedge.nets.cache import ATTENTION

    model.set_attn_implementation(ATTENTION)
