"""Distillation from the inside of a transformer: hidden states and attention maps, layer by layer. Both must see the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mmedge.errors import MmedgeError
from mmedge.nets.objectives.embedded import Projector, projected


def hidden(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    layers: tuple[int, ...] = (),
    projector: Projector | None = None,
) -> Tensor:
    """Mean squared error of hidden states (Jiao et al. 2020, TinyBERT), its mean over the layers that are held to one.

    Args:
        student: float [B, T, D] for the embeddings and then for each layer, as ``output_hidden_states`` gives them.
        teacher: [B, T, E] likewise, any precision; E = D unless there is a projector.
        mask: int64 or bool [B, T]: what is no filling.
        layers: which of the teacher's states each of the student's is held to, -1 for none. Empty: evenly spaced, the first to the first, the last to the last.
        projector: [B, T, D] -> [B, T, E], one for all layers, trained along.

    Raises:
        MmedgeError: token grids or widths differ, or the layer map does not fit.
    """
    chosen = _mapped("hidden", len(student), len(teacher), layers, _evenly(len(student) - 1, len(teacher) - 1, first=0))
    losses = []
    for mine, theirs in ((student[ours], teacher[other]) for ours, other in chosen):
        _same_tokens("hidden", mine.shape[1], theirs.shape[1])
        mine = projected("hidden", mine, theirs, projector)
        losses.append(_mean((mine - theirs.detach().to(mine.dtype)).square().mean(-1), mask))
    return torch.stack(losses).mean()


def attention(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    layers: tuple[int, ...] = (),
    heads: Literal["each", "mean"] = "each",
) -> Tensor:
    """The squared distance of attention maps, added over what is looked at, its mean over heads and layers (after Jiao et al. 2020, TinyBERT, who compare
    scores before the softmax; the maps themselves are what Wang et al. 2020, MiniLM, compare).

    Args:
        student: float [B, heads, T, T] for each layer, as ``output_attentions`` gives them (``attn_implementation="eager"``).
        teacher: likewise, any precision.
        mask: int64 or bool [B, T]: what is no filling.
        layers: which of the teacher's layers each of the student's is held to, -1 for none. Empty: evenly spaced, the last to the last.
        heads: ``each`` head is held to the teacher's with its number; ``mean``: the mean over the heads, whose numbers may then differ.

    Raises:
        MmedgeError: token grids or heads differ, or the layer map does not fit.
    """
    chosen = _mapped("attention", len(student), len(teacher), layers, _evenly(len(student), len(teacher), first=1))
    losses = []
    for mine, theirs in ((student[ours], teacher[other]) for ours, other in chosen):
        _same_tokens("attention", mine.shape[-1], theirs.shape[-1])
        if heads == "mean":
            mine, theirs = mine.mean(1, keepdim=True), theirs.mean(1, keepdim=True)
        if mine.shape[1] != theirs.shape[1]:
            raise MmedgeError(f"attention: the student has {mine.shape[1]} heads, the teacher {theirs.shape[1]}", 'write heads = "mean" in its settings')
        losses.append(_mean((mine - theirs.detach().to(mine.dtype)).square().sum(-1).mean(1), mask))
    return torch.stack(losses).mean()


def _evenly(count: int, of: int, *, first: int) -> tuple[int, ...]:
    """The uniform map of TinyBERT: layer m of M to layer m N / M of N, layers counted from 1, the embeddings 0; as positions in the teacher's list."""
    return tuple(round(layer * of / max(count, 1)) - first for layer in range(first, count + 1))


def _mapped(kind: str, count: int, of: int, layers: tuple[int, ...], default: tuple[int, ...]) -> list[tuple[int, int]]:
    chosen = layers or default
    if len(chosen) != count or any(not -1 <= other < of for other in chosen) or all(other < 0 for other in chosen):
        raise MmedgeError(
            f"{kind}: layers = {list(chosen)} does not map {count} of the student's to {of} of the teacher's",
            f"give {count} numbers from 0 to {of - 1}, or -1 for those that are held to none",
        )
    return [(ours, other) for ours, other in enumerate(chosen) if other >= 0]


def _same_tokens(kind: str, student: int, teacher: int) -> None:
    if student != teacher:
        raise MmedgeError(
            f"{kind}: the student sees {student} tokens where the teacher sees {teacher}, and no token of one stands for one of the other",
            "give both the same tokenizer, or pictures of the same size in patches of the same size; or compare their embeddings by features",
        )


def _mean(losses: Tensor, mask: Tensor | None) -> Tensor:
    """[B, T] -> scalar."""
    if mask is None:
        return losses.mean()
    weights = mask.to(losses.dtype)
    return (losses * weights).sum() / weights.sum()
