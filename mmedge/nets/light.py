"""Decoder layers in fewer operations: in a step a matrix meets one token, and what is left beside reading weights is the number of nodes.

``lighten`` changes a model of transformers in place. What it computes stays the same up to rounding:
query, key and value are one matrix, and so are gate and up; the attention's scale is folded into the query's weights; queries and keys are turned together, the
rotation's sign lies in the sine; norms divide by a root, the form that ONNX Runtime and OpenVINO take for one operator.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmedge.nets.cache import attend

ATTENTIONS = ("Llama", "Mistral", "Qwen2", "Qwen3", "SmolLM3", "Gemma")
"""Architectures whose attention and feed-forward layers are known to be what is written here, by the beginning of their classes' names."""


class Norm(nn.Module):
    """Root mean square normalisation (Zhang and Sennrich 2019) over the last axis."""

    def __init__(self, weight: Tensor, epsilon: float) -> None:
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(weight, requires_grad=False), epsilon

    def forward(self, states: Tensor) -> Tensor:
        return self.weight * (states / torch.sqrt(states.pow(2).mean(-1, keepdim=True) + self.epsilon))


class Rotary(nn.Module):
    """transformers' rotary embedding; the first half of the sine is negated, for ``turn``."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.theirs = theirs

    def forward(self, states: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = self.theirs(states, position_ids)
        first, second = sin.chunk(2, -1)
        return cos.unsqueeze(2), torch.cat([-first, second], -1).unsqueeze(2)


def turn(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021). heads: [1, tokens, heads, head_dim]; cos, sin: [1, tokens, 1, head_dim]."""
    first, second = heads.chunk(2, -1)
    return heads * cos + torch.cat([second, first], -1) * sin


class Attention(nn.Module):
    """Causal self-attention over a cache, called as transformers calls its own."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.layer_idx, self.head_dim, self.turns = theirs.layer_idx, theirs.head_dim, bool(getattr(theirs, "use_rope", True))
        self.queries, self.keys = (projection.out_features // self.head_dim for projection in (theirs.q_proj, theirs.k_proj))
        self.q_norm, self.k_norm = getattr(theirs, "q_norm", None), getattr(theirs, "k_norm", None)
        with torch.no_grad():
            (self.q_norm or theirs.q_proj).weight.mul_(theirs.scaling)
            if self.q_norm is None and theirs.q_proj.bias is not None:
                theirs.q_proj.bias.mul_(theirs.scaling)
        self.qkv, self.out = joined(theirs.q_proj, theirs.k_proj, theirs.v_proj), theirs.o_proj

    def forward(
        self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], attention_mask: Tensor, past_key_values: Any, **_: Any
    ) -> tuple[Tensor, None]:
        heads = self.qkv(hidden_states).unflatten(-1, (-1, self.head_dim))
        turned, value = heads.split([self.queries + self.keys, self.keys], 2)
        if self.q_norm is not None and self.k_norm is not None:
            query, key = turned.split([self.queries, self.keys], 2)
            turned = torch.cat([self.q_norm(query), self.k_norm(key)], 2)
        if self.turns:
            turned = turn(turned, *position_embeddings)
        query, key = turned.transpose(1, 2).split([self.queries, self.keys], 1)
        key, value = past_key_values.update(key, value.transpose(1, 2), self.layer_idx)
        mixed, _weights = attend(self, query, key, value, attention_mask, scaling=1.0)
        return self.out(mixed.flatten(2)), None


class FeedForward(nn.Module):
    """Gated: ``down(act(gate(x)) * up(x))``."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.gate_up, self.down, self.act = joined(theirs.gate_proj, theirs.up_proj), theirs.down_proj, theirs.act_fn

    def forward(self, states: Tensor) -> Tensor:
        gate, up = self.gate_up(states).chunk(2, -1)
        result: Tensor = self.down(self.act(gate) * up)
        return result


def joined(*projections: nn.Linear) -> nn.Linear:
    """One matrix for several that read the same."""
    whole = nn.Linear(projections[0].in_features, sum(one.out_features for one in projections), bias=projections[0].bias is not None, device="meta")
    whole.weight = nn.Parameter(torch.cat([one.weight.detach() for one in projections]), requires_grad=False)
    if projections[0].bias is not None:
        whole.bias = nn.Parameter(torch.cat([one.bias.detach() for one in projections]), requires_grad=False)
    return whole


def lighten(model: Any) -> None:
    """Replace the layers of a text model of transformers (``model.layers``, ``model.norm``, ``model.rotary_emb``).

    It then only runs with a cache and a mask that are given; have a reference speak before. A model of another making stays as it is.
    """
    if not type(model).__name__.startswith(ATTENTIONS):
        return
    for layer in model.layers:
        layer.self_attn, layer.mlp = Attention(layer.self_attn), FeedForward(layer.mlp)
    model.rotary_emb = Rotary(model.rotary_emb)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                own: Any = child
                weight = own.weight.detach()
                gemma = type(child).__name__ == "GemmaRMSNorm"
                setattr(parent, name, Norm(1.0 + weight if gemma else weight, own.eps if gemma else own.variance_epsilon))
