"""How far a model agrees with its own fp32, on data without right answers: vectors, orders, answers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from mmedge.evaluate.metrics.bootstrap import Draft, Metric, Samples, Values, divide, mean, measure, ratio


def cosine(ours: Values, fp32: Values) -> Metric:
    """``cosine``: the mean over samples of the cosine between the vectors, float [samples, width]. A vector of zeros has cosine 1 with another, else 0."""
    if why := _unfit(ours, fp32):
        return Metric("cosine", None, why)
    a, b = (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float64).tiny) for values in (ours, fp32))
    found = (a * b).sum(axis=1) + (~a.any(axis=1) & ~b.any(axis=1))
    return measure([Draft("cosine", Samples(found[:, None], mean))])[0]


def rank_correlation(ours: Values, fp32: Values) -> Metric:
    """``spearman``: the mean over samples of Spearman's rank correlation between the scores of all candidates, float [samples, candidates].

    Equal scores share their mean rank (Spearman 1904; Kendall, Rank Correlation Methods, chapter 3). A sample whose candidates all score the same has none.
    """
    if why := _unfit(ours, fp32):
        return Metric("spearman", None, why)
    a, b = (_centred_ranks(scores) for scores in (ours, fp32))
    norms: Values = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    defined = norms != 0
    found = np.nan_to_num(divide((a * b).sum(axis=1), norms))
    how = "" if defined.all() else f"without {np.count_nonzero(~defined)} samples whose scores are all equal"
    return measure([Draft("spearman", Samples(np.stack([found, defined], axis=1), ratio), "every sample's scores are all equal", how=how)])[0]


def top1_agreement(ours: Sequence[Hashable], fp32: Sequence[Hashable]) -> Metric:
    """``top1_agreement``: the share of samples that get the same answer (a class, the best match, a text) as from fp32."""
    same = np.array([a == b for a, b in zip(ours, fp32, strict=True)], dtype=np.float64)
    return measure([Draft("top1_agreement", Samples(same[:, None], mean))])[0]


def _unfit(ours: Values, fp32: Values) -> str:
    if ours.shape != fp32.shape or ours.ndim != 2:
        raise ValueError(f"{ours.shape} and {fp32.shape} are not two arrays [samples, values]")
    for who, values in (("the model", ours), ("fp32", fp32)):
        if bad := int((~np.isfinite(values)).any(axis=1).sum()):
            return f"not computed: {bad} of {len(values)} outputs of {who} are not finite"
    return ""


def _centred_ranks(scores: Values) -> Values:
    """The ranks in each row, equal scores with their mean rank, less the mean of all."""
    ranks = np.empty(scores.shape)
    for row, values in zip(ranks, scores):
        _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
        row[:] = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    return ranks - (scores.shape[1] + 1) / 2
