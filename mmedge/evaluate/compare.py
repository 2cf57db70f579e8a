"""Two evaluations of the same samples, unit by unit: whether a difference is real."""

from __future__ import annotations

import numpy as np

from mmedge.errors import MmedgeError
from mmedge.evaluate.evaluation import Evaluation, Figure
from mmedge.evaluate.metrics.bootstrap import Estimate, Metric, Samples, paired
from mmedge.evaluate.metrics.reduces import reduce_of


def differences(ours: Evaluation, theirs: Evaluation) -> dict[str, Estimate]:
    """Metric -> ours - theirs with the interval of that difference: both are resampled together, which is far sharper than two intervals side by side.

    Raises:
        MmedgeError: they are of different tasks, settings or samples.
    """
    for what, a, b in (
        ("tasks", ours.task, theirs.task),
        ("settings", ours.setting, theirs.setting),
        ("data", ours.data.fingerprint, theirs.data.fingerprint),
        ("samples, some were unreadable to one of them,", [one.key for one in ours.samples], [one.key for one in theirs.samples]),
    ):
        if a != b:
            raise MmedgeError(f"these evaluations are of different {what} and cannot be compared", "evaluate both on the same data, with the same options")
    others = {one.name: one for one in theirs.figures}
    pairs = {one.name: (_metric(ours, one), _metric(theirs, others[one.name])) for one in ours.figures if one.name in others}
    return {name: paired(*pair) for name, pair in pairs.items() if pair[0].samples and pair[1].samples}


def _metric(made: Evaluation, figure: Figure) -> Metric:
    if figure.rows is None:
        return Metric(figure.name, None, figure.why, figure.higher_is_better)
    rows = np.array(made.statistics[figure.rows], dtype=np.float64)
    return Metric(figure.name, None, samples=Samples(rows, reduce_of(figure.name, rows, len(made.classes))), higher_is_better=figure.higher_is_better)
