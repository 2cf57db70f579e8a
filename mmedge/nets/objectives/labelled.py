"""Objectives that labels answer: classes, matches, and the joint form of a fusion and its single modalities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mmedge.errors import MmedgeError

UNASKED = -100
"""The label of a sample that is not asked about."""


def cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Of classes.

    Args:
        logits: float [B, C].
        labels: int64 [B]; -100 is left out, and where nothing else is, the loss is 0.
        smoothing: how much of each target is spread over all classes (Szegedy et al. 2016).
    """
    asked = labels != UNASKED
    total = functional.cross_entropy(logits, labels, ignore_index=UNASKED, reduction="sum", label_smoothing=smoothing)
    return total / asked.sum().clamp(min=1)


def matching(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of whether a picture and a text belong together (the image-text matching of Li et al. 2021, ALBEF, with one logit).

    Args:
        logits: float [B] or [B, 1].
        labels: int64 or float [B]: 1 where they belong together, else 0.
    """
    return functional.binary_cross_entropy_with_logits(logits.flatten(), labels.to(logits.dtype))


def joint(
    logits: Tensor,
    labels: Tensor,
    alone: Mapping[str, Tensor],
    present: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
) -> Tensor:
    """``alpha * L_text + beta * L_image + gamma * L_audio + L_joint``: cross entropies of the fused logits and of what each modality says alone, so that
    none is left untrained because another one is easier (the sum of losses of Wang, Tran and Feiszli 2020, without their re-estimated weights).

    Args:
        logits: float [B, C] of all modalities together.
        labels: int64 [B].
        alone: float [B, C] for each modality.
        present: bool [B, modalities in the order of ``alone``]: a modality says nothing about a sample that lacks it. None: all are there.

    Raises:
        MmedgeError: ``alone`` is empty.
    """
    if not alone:
        raise MmedgeError("the joint objective needs what each modality says alone, and this network has no such heads", "use cross_entropy instead")
    weights = {"text": alpha, "image": beta, "audio": gamma}
    total = cross_entropy(logits, labels)
    for number, (name, said) in enumerate(alone.items()):
        asked = labels if present is None else torch.where(present[:, number], labels, UNASKED)
        total = total + weights[name] * cross_entropy(said, asked)
    return total
