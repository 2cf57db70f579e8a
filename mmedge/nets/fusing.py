"""Several modalities into one vector, four ways. What is missing has no part in it, whatever its tensors hold.

All take one ``Encoded`` of the same width per modality, in one order, and ``present`` bool [B, modalities], at least one of which is true in each row; all give
the joint vector [B, J] and each modality's own part of it [B, modalities, D]. In the place of a missing modality stands a learned vector of its own, so that
the network can tell that it is missing; only the weighted sum goes without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmedge.nets.embedders import MASKED
from mmedge.nets.listening import heads, mix


@dataclass
class Encoded:
    """What is known of one modality of a batch."""

    pooled: Tensor
    """[B, D]."""
    tokens: Tensor
    """[B, T, D]."""
    mask: Tensor | None = None
    """int64 [B, T], 0 on filling; None where there is none."""


class Concat(nn.Module):
    """Side by side."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()
        self.width = modalities * width
        self.missing = nn.Parameter(torch.randn(modalities, width) * 0.02)

    def forward(self, items: Sequence[Encoded], present: Tensor) -> tuple[Tensor, Tensor]:
        parts = torch.where(present.unsqueeze(-1), torch.stack([one.pooled for one in items], 1), self.missing)
        return parts.flatten(1), parts


class WeightedSum(nn.Module):
    """A learned weight for each modality, softmax over those that are present."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.weights = nn.Parameter(torch.zeros(modalities))

    def forward(self, items: Sequence[Encoded], present: Tensor) -> tuple[Tensor, Tensor]:
        stacked = torch.stack([one.pooled for one in items], 1)
        parts = torch.where(present.unsqueeze(-1), stacked, torch.zeros_like(stacked))
        weights = (self.weights + (1 - present.to(stacked.dtype)) * MASKED).softmax(-1)
        return (weights.unsqueeze(-1) * parts).sum(1), parts


class Deep(nn.Module):
    """A network of residual layers over what stands side by side (deep fusion; Ngiam et al. 2011 name the joint layers of several modalities so)."""

    def __init__(self, modalities: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.concat = Concat(modalities, width)
        self.first = nn.Linear(self.concat.width, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, items: Sequence[Encoded], present: Tensor) -> tuple[Tensor, Tensor]:
        beside, parts = self.concat(items, present)
        joint = self.first(beside)
        for layer in self.layers:
            joint = joint + layer(joint)
        return self.norm(joint), parts


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017). Its projections are matrices apart: a packed one would be split in the graph, where no quantizer finds it."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.head_dim = width // count
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, states: Tensor, others: Tensor, mask: Tensor) -> Tensor:
        """[B, n, D], [B, m, D], what is added to the scores of the others [B, m] -> [B, n, D]."""
        query = heads(self.query(states) * self.head_dim**-0.5, self.head_dim)
        key, value = heads(self.key(others), self.head_dim).transpose(2, 3), heads(self.value(others), self.head_dim)
        found: Tensor = self.out(mix(query, key, value, mask[:, None, None]))
        return found


class Layer(nn.Module):
    """Attention within a modality, then to the others, then a feed-forward network: torch's TransformerDecoderLayer with ``norm_first``."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.within, self.across = Attention(width, heads), Attention(width, heads)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, mask: Tensor, others: Tensor, others_mask: Tensor) -> Tensor:
        normed = self.norms[0](states)
        states = states + self.dropout(self.within(normed, normed, mask))
        states = states + self.dropout(self.across(self.norms[1](states), others, others_mask))
        states = states + self.dropout(self.feed_forward(self.norms[2](states)))
        return states


class CrossAttention(nn.Module):
    """Each modality's tokens attend to each other, then to those of all others, both directions at once (Lu et al. 2019, Tan and Bansal 2019).

    Before the tokens of each modality stands a learned one, which is read in the end. Where the modality is missing it is all that is left of it, so there is
    always something to attend to.
    """

    def __init__(self, modalities: int, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.width = modalities * width
        self.first = nn.Parameter(torch.randn(modalities, width) * 0.02)
        self.layers = nn.ModuleList(nn.ModuleList(Layer(width, heads, dropout) for _ in range(modalities)) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(modalities))

    def forward(self, items: Sequence[Encoded], present: Tensor) -> tuple[Tensor, Tensor]:
        made = [self._sequence(at, one, present[:, at]) for at, one in enumerate(items)]
        states, masks = [one[0] for one in made], [one[1] for one in made]
        for blocks in self.layers:
            assert isinstance(blocks, nn.ModuleList)
            states = [
                block(states[at], masks[at], torch.cat([*states[:at], *states[at + 1 :]], 1), torch.cat([*masks[:at], *masks[at + 1 :]], 1))
                for at, block in enumerate(blocks)
            ]
        parts = torch.stack([norm(state[:, 0]) for norm, state in zip(self.norms, states)], 1)
        return parts.flatten(1), parts

    def _sequence(self, at: int, item: Encoded, present: Tensor) -> tuple[Tensor, Tensor]:
        """([B, 1 + T, D], what is added to the scores of these as keys [B, 1 + T]). What is hidden is zero, since even NaN times a weight of 0 is NaN."""
        ones = torch.ones_like(item.tokens[:, :, 0])
        seen = (ones if item.mask is None else item.mask.to(ones.dtype)) * present.to(ones.dtype).unsqueeze(-1)
        tokens = torch.where(seen.unsqueeze(-1) > 0, item.tokens, torch.zeros_like(item.tokens))
        first = self.first[at].expand(tokens.shape[0], 1, -1)
        return torch.cat([first, tokens], 1), nn.functional.pad((1 - seen) * MASKED, (1, 0))
