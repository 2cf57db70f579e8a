"""Objectives that pairs answer: what was seen together lies close together. Either side may be any modality; they are named image and text."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def contrastive(image_embedding: Tensor, text_embedding: Tensor, scale: Tensor, positives: Tensor | None = None) -> Tensor:
    """Cross entropy of each picture's own text among all texts, and the other way round, halved (Radford et al. 2021, CLIP).

    Where several belong together (a caption that repeats), the target is spread evenly over them (Yang et al. 2022, UniCL).

    Args:
        image_embedding, text_embedding: float [B, D] of length 1, of the whole batch.
        scale: 1 / temperature, a scalar; learned as its logarithm by the model.
        positives: bool [B, B], picture by text, true on the diagonal. None: the diagonal alone.
    """
    scores = scale * image_embedding @ text_embedding.T
    return (own(scores, positives) + own(scores.T, None if positives is None else positives.T)) / 2


def own(scores: Tensor, positives: Tensor | None) -> Tensor:
    """The mean cross entropy of each row of scores [B, B] with its positives (bool [B, B], None: the diagonal)."""
    if positives is None:
        return functional.cross_entropy(scores, torch.arange(len(scores), device=scores.device))
    wanted = positives.to(scores.dtype)
    return functional.cross_entropy(scores, wanted / wanted.sum(1, keepdim=True))


def sigmoid(image_embedding: Tensor, text_embedding: Tensor, scale: Tensor, bias: Tensor, positives: Tensor | None = None) -> Tensor:
    """Every picture with every text is a question of its own: binary cross entropies, added over texts, their mean over pictures (Zhai et al. 2023, SigLIP).

    Args:
        image_embedding, text_embedding: float [B, D] of length 1, of the whole batch.
        scale, bias: of a score, learned, scalars.
        positives: as for ``contrastive``.
    """
    if positives is None:
        positives = torch.eye(len(image_embedding), dtype=torch.bool, device=image_embedding.device)
    scores = scale * image_embedding @ text_embedding.T + bias
    return -functional.logsigmoid(torch.where(positives, scores, -scores)).sum(1).mean()


def alignment(image_embedding: Tensor, text_embedding: Tensor) -> Tensor:
    """The squared distance of the two halves of a pair, its mean over the batch (the alignment of Wang and Isola 2020, with exponent 2).

    It pulls together and pushes nothing apart: alone it makes all embeddings one.

    Args:
        image_embedding, text_embedding: float [B, D] of length 1.
    """
    return (image_embedding - text_embedding).square().sum(-1).mean()
