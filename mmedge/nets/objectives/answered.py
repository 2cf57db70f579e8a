"""Distillation of answers: of class logits, and of the words of an encoder-decoder from what was kept of its teacher's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mmedge.errors import MmedgeError
from mmedge.nets.objectives.labelled import UNASKED, cross_entropy


def logits(logits: Tensor, teacher_logits: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Kullback-Leibler divergence of softened distributions, times temperature^2, so that its gradient does not fade as they soften (Hinton et al. 2015).

    Args:
        logits: float [B, C]; or [B], one logit of a yes, as of a matcher.
        teacher_logits: [B, C] or [B], any precision.

    Raises:
        MmedgeError: they have different classes.
    """
    if logits.shape[1:] != teacher_logits.shape[1:]:
        raise MmedgeError(
            f"logits: the student has outputs {tuple(logits.shape[1:])} for each sample, the teacher {tuple(teacher_logits.shape[1:])}",
            "give both the same classes in the same order",
        )
    found, wanted = (_classes(one) / temperature for one in (logits, teacher_logits.detach().to(logits.dtype)))
    return functional.kl_div(found.log_softmax(-1), wanted.log_softmax(-1), reduction="batchmean", log_target=True) * temperature**2


def _classes(scores: Tensor) -> Tensor:
    """A yes of z is a choice between 0 and z."""
    return torch.stack([torch.zeros_like(scores), scores], -1) if scores.ndim == 1 else scores


def top_k(logits: Tensor, k: int, *, temperature: float = 2.0) -> tuple[Tensor, Tensor]:
    """What is kept of a teacher's answer for ``sequence``: the k likeliest tokens.

    Args:
        logits: float [..., V].

    Returns:
        int64 [..., k], and their log probabilities under the softened distribution over all V: float [..., k]. fp16 is precise enough to store them.
    """
    found = (logits / temperature).log_softmax(-1).topk(min(k, logits.shape[-1]), -1)
    return found.indices, found.values


def sequence(
    logits: Tensor,
    labels: Tensor,
    teacher_top_ids: Tensor,
    teacher_top_log_probs: Tensor,
    *,
    temperature: float = 2.0,
    alpha: float = 0.8,
    beta: float = 1.0,
) -> Tensor:
    """``alpha * KL + beta * CE`` (Gandhi et al. 2023, Distil-Whisper): the divergence from the teacher's distribution at each place, and the cross entropy of
    the words that it wrote (pseudo labels; Kim and Rush 2016). All but the teacher's likeliest tokens are one event, "another": that is a lower bound of
    the divergence over all tokens, exact where all were kept, and 0 only where the kept ones agree.

    Args:
        logits: float [B, T, V].
        labels: int64 [B, T], the teacher's words; -100 is left out of both terms.
        teacher_top_ids: int64 [B, T, K], teacher_top_log_probs: [B, T, K], any precision; by ``top_k`` at the same ``temperature``.
    """
    asked = labels != UNASKED
    scores = logits[asked] / temperature
    ids, wanted = teacher_top_ids[asked], teacher_top_log_probs[asked].detach().to(scores.dtype)
    wanted = wanted - wanted.logsumexp(-1, keepdim=True).clamp(min=0)  # rounding can make more than 1 of them
    total = scores.logsumexp(-1, keepdim=True)
    divergence = (wanted.exp() * (wanted - scores.gather(-1, ids) + total)).sum()
    if ids.shape[-1] < scores.shape[-1]:
        other = (1 - wanted.exp().sum(-1)).clamp(min=0)
        found = scores.scatter(-1, ids, -torch.inf).logsumexp(-1) - total[:, 0]
        divergence = divergence + (torch.xlogy(other, other) - other * found).sum()
    soft = divergence / asked.sum().clamp(min=1) * temperature**2
    return alpha * soft + beta * cross_entropy(logits.flatten(0, 1), labels.flatten())
