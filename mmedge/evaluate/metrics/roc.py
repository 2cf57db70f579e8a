"""The area under the ROC curve, with ties counted half: the Mann-Whitney statistic (Hanley and McNeil, Radiology 143, 1982)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mmedge.evaluate.metrics.bootstrap import Draft, Samples, Values, divide

NO_SCORES = "not computed: the model gives no scores of classes"


def roc_auc(scores: Values | None, expected: NDArray[np.int64], names: Sequence[str], columns: int) -> tuple[Draft, list[Draft]]:
    """(of the whole, of each class against the rest). Two classes have one curve: the second is the positive one, as in scikit-learn.

    Args:
        scores: [samples, columns]; of two columns the difference ranks the samples.
        expected: the right class of each sample, as its column.
        names: the classes; those from ``columns`` on have no scores.
    """
    nothing = Samples(np.empty((0, 1)), area)
    if scores is None:
        return Draft("roc_auc", nothing, NO_SCORES), [Draft("roc_auc", nothing, NO_SCORES) for _ in names]
    if scores.shape != (len(expected), columns):
        raise ValueError(f"scores {scores.shape} are not of {len(expected)} samples and {columns} classes")
    if not np.isfinite(scores).all():
        why = "not computed: some scores are not finite"
        return Draft("roc_auc", nothing, why), [Draft("roc_auc", nothing, why) for _ in names]
    if columns == 2:
        scores = np.stack([scores[:, 0] - scores[:, 1], scores[:, 1] - scores[:, 0]], axis=1)
    rows = [np.stack([scores[:, index], expected == index], axis=1) for index in range(columns)]
    single = [Draft("roc_auc", Samples(pair, area), _why(pair[:, 1], name)) for pair, name in zip(rows, names)]
    single += [Draft("roc_auc", nothing, f"not computed: the model gives no score for {name}") for name in names[columns:]]
    if columns == 2:
        return Draft("roc_auc", single[1].samples, single[1].why, how=f"positive class: {names[1]}"), single
    usable = [index for index, pair in enumerate(rows) if 0 < pair[:, 1].sum() < len(pair)]
    left_out = [name for index, name in enumerate(names) if index not in usable]
    how = "one class against the rest, mean over classes" + (f" without {', '.join(left_out)}, which no sample is of" if left_out else "")
    packed = np.concatenate([scores[:, usable], expected[:, None] == np.array(usable, dtype=np.int64)], axis=1)
    return Draft("roc_auc", Samples(packed, partial(mean_area, len(usable))), "fewer than two classes have samples", how=how), single


def _why(positive: Values, name: str) -> str:
    return f"every sample is of {name}" if positive.all() else f"no sample is of {name}"


def mean_area(classes: int, weights: Values, rows: Values) -> Values:
    """NaN where a class is missing from a resample, or where there is none."""
    if not classes:
        return np.full(len(weights), np.nan)
    return np.mean([area(weights, rows[:, [index, classes + index]]) for index in range(classes)], axis=0)


def area(weights: Values, rows: Values) -> Values:
    """Of one curve; a row is a sample's score, and 1 where it is of the positive class, 0 elsewhere."""
    score, positive = rows[:, 0], rows[:, 1] == 1
    order = np.argsort(score, kind="stable")
    running = np.cumsum(weights[:, order], axis=1)
    first, last = (np.searchsorted(score[order], score[positive], side) for side in ("left", "right"))
    ranks = (np.where(first > 0, running[:, first - 1], 0) + running[:, last - 1]) / 2  # of each positive sample: what is below it, and half of its ties
    positives = weights[:, positive].sum(axis=1)
    above = (weights[:, positive] * ranks).sum(axis=1) - positives**2 / 2  # without the positive samples themselves
    return divide(above, positives * (weights.sum(axis=1) - positives))


def pair_area(weights: Values, rows: Values) -> Values:
    """Of right pairs against wrong ones; a row is the score of a unit's right pair, then those of its wrong ones, NaN where it has fewer.

    A unit without a wrong pair has no part in it.
    """
    units, columns = np.nonzero(~np.isnan(rows) & ~np.isnan(rows[:, 1:]).all(axis=1, keepdims=True))
    return area(weights[:, units], np.stack([rows[units, columns], columns == 0], axis=1))
