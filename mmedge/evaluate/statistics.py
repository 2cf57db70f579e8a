"""Metrics as an evaluation stores them, with what each unit adds to them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mmedge.evaluate.evaluation import Figure, PerClass
from mmedge.evaluate.metrics.bootstrap import Metric, Values
from mmedge.evaluate.metrics.classification import ClassFigures

WIDEST = 32
"""Statistics of one unit that are stored at most: the ROC curves of many classes would fill the document with scores."""


class Statistics:
    """Gathers the matrices of many metrics, equal ones once."""

    def __init__(self) -> None:
        self._kept: list[Values] = []

    def figures(self, metrics: Iterable[Metric]) -> tuple[Figure, ...]:
        return tuple(self._figure(metric, self._rows(metric)) for metric in metrics)

    def of_class(self, one: ClassFigures) -> PerClass:
        """Of a single class the matrices are not kept: the answers to the samples say it all."""
        figures = tuple(self._figure(metric, None) for metric in (one.precision, one.recall, one.f1, one.roc_auc))
        return PerClass(label=one.label, support=one.support, predicted=one.predicted, figures=figures)

    def matrices(self) -> tuple[tuple[tuple[float | None, ...], ...], ...]:
        """As JSON holds them: null for NaN."""
        return tuple(tuple(tuple(None if np.isnan(value) else float(value) for value in row) for row in matrix) for matrix in self._kept)

    def _rows(self, metric: Metric) -> int | None:
        if metric.samples is None or metric.samples.rows.shape[1] > WIDEST:
            return None
        rows = metric.samples.rows
        for at, kept in enumerate(self._kept):
            if kept.shape == rows.shape and np.array_equal(kept, rows, equal_nan=True):
                return at
        self._kept.append(rows)
        return len(self._kept) - 1

    def _figure(self, metric: Metric, rows: int | None) -> Figure:
        found = metric.estimate
        return Figure(
            name=metric.name,
            value=found.value if found else None,
            low=found.low if found else None,
            high=found.high if found else None,
            n=found.n if found else 0,
            note=found.note if found else "",
            why=metric.why,
            higher_is_better=metric.higher_is_better,
            how=metric.how,
            rows=rows,
        )
