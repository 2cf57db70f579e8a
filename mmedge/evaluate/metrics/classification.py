"""Classification: accuracy, precision, recall and F1 of each class and averaged, area under the ROC curve.

Definitions are scikit-learn's: ``precision_recall_fscore_support`` without ``labels`` and with ``zero_division=0``, ``roc_auc_score`` one-vs-rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mmedge.evaluate.metrics.bootstrap import Draft, Metric, Samples, Values, divide, mean, measure, ratio
from mmedge.evaluate.metrics.roc import roc_auc

FIGURES = ("precision", "recall", "f1")
AVERAGES = ("macro", "micro", "weighted")


@dataclass(frozen=True)
class ClassFigures:
    """One class. A figure that is not defined for it has no estimate, and says why."""

    label: str
    support: int
    """The samples that are of it."""
    predicted: int
    """The samples that were taken for it."""
    precision: Metric
    recall: Metric
    f1: Metric
    roc_auc: Metric


@dataclass(frozen=True)
class Classification:
    metrics: tuple[Metric, ...]
    """``accuracy``, ``precision_macro`` to ``f1_weighted``, ``roc_auc``."""
    classes: tuple[ClassFigures, ...]


def classification(predicted: Sequence[str], expected: Sequence[str], classes: Sequence[str] = (), scores: Values | None = None) -> Classification:
    """Every figure of a classifier, resampled over its samples.

    Args:
        predicted: the class that the model gave each sample.
        expected: the right one.
        classes: all that there are, in the order of the columns of ``scores``; what else appears is added behind.
        scores: float [samples, classes], probabilities or what ranks samples alike, for the area under the ROC curve.

    Averages are over the classes that are expected or predicted somewhere; there a precision, recall or F1 that is 0/0 counts as 0. Of a single class it has no
    estimate, so that a class that never appears is named.
    """
    names = [*classes, *sorted({*expected, *predicted} - {*classes})]
    number = {name: index for index, name in enumerate(names)}
    codes = np.array([(number[right], number[given]) for right, given in zip(expected, predicted, strict=True)], dtype=np.int64).reshape(-1, 2)
    support, taken = (np.bincount(codes[:, column], minlength=len(names)) for column in (0, 1))
    absent = [name for name, amount in zip(names, support) if not amount]
    how = "zero_division=0" + (f"; no sample is of: {', '.join(absent)}" if absent else "")
    rows = codes.astype(np.float64)
    drafts = [Draft("accuracy", Samples((codes[:, :1] == codes[:, 1:]).astype(np.float64), mean))]
    for average in AVERAGES:
        drafts += [Draft(f"{figure}_{average}", Samples(rows, partial(averaged, figure, average, len(names))), how=how) for figure in FIGURES]
    overall, per_class = roc_auc(scores, codes[:, 0], names, len(classes))
    drafts.append(overall)
    single = [draft for index, name in enumerate(names) for draft in (*_of_class(codes, index, name), per_class[index])]
    metrics = measure([*drafts, *single])
    of_classes = metrics[len(drafts) :]
    found = [ClassFigures(name, int(support[i]), int(taken[i]), *of_classes[4 * i : 4 * i + 4]) for i, name in enumerate(names)]
    return Classification(tuple(metrics[: len(drafts)]), tuple(found))


def _of_class(codes: NDArray[np.int64], index: int, name: str) -> list[Draft]:
    expected, predicted = (codes == index).T.astype(np.float64)
    hits = expected * predicted
    parts = {"precision": (hits, predicted), "recall": (hits, expected), "f1": (2 * hits, expected + predicted)}
    whys = {"precision": f"nothing was taken for {name}", "recall": f"no sample is of {name}", "f1": f"{name} never appears"}
    return [Draft(figure, Samples(np.stack(pair, axis=1), ratio), whys[figure]) for figure, pair in parts.items()]


def averaged(figure: str, average: str, classes: int, weights: Values, rows: Values) -> Values:
    """Precision, recall or F1 over all classes; a row is the number of the class that was expected, and of the one that was predicted."""
    expected, predicted = rows.T
    if average == "micro":  # of one class a sample, all three are the accuracy
        return mean(weights, (expected == predicted).astype(np.float64)[:, None])
    support, taken = _sums(weights, expected, classes), _sums(weights, predicted, classes)
    hits = _sums(weights, np.where(expected == predicted, expected, classes), classes)
    over, under = {"precision": (hits, taken), "recall": (hits, support), "f1": (2 * hits, support + taken)}[figure]
    figures = np.nan_to_num(divide(over, under), nan=0.0)
    share = support if average == "weighted" else (support + taken > 0).astype(np.float64)
    return divide((figures * share).sum(axis=1), share.sum(axis=1))


def _sums(weights: Values, codes: Values, classes: int) -> Values:
    """The weight of each class: [resamples, classes]."""
    order = np.argsort(codes, kind="stable")
    running = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights[:, order], axis=1)], axis=1)
    edges = np.searchsorted(codes[order], np.arange(classes + 1))
    return running[:, edges[1:]] - running[:, edges[:-1]]
