"""What a training must not cost: samples that it never sees, on which its model has to be almost as good as the teacher."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmedge.distill.report import Run
from mmedge.distill.samples import Numbers, Parts, Samples, no_split
from mmedge.errors import GateFailed, MmedgeError
from mmedge.evaluate.metrics.bootstrap import Metric
from mmedge.training import Guard

ROUNDING = 1e-9


def guarded(samples: Samples, its: Parts, guard: Guard) -> Numbers:
    """The samples of a guard. Raises MmedgeError: there are none, or they are trained on, validated on or tested on."""
    found = np.flatnonzero(np.array(samples.splits) == guard.split)
    if not len(found):
        raise no_split(guard.split, samples, Counter(samples.splits))
    if np.isin(found, np.concatenate([its.train, its.validation, its.test])).any():
        raise MmedgeError(f"the split {guard.split} is the guard, and used otherwise too", "name a split of its own in [models.ROLE.train.guard]")
    return found


def of_guard(metrics: Sequence[Metric], guard: Guard) -> list[Metric]:
    """The same metrics under the names that they have beside those of the test."""
    return [replace(one, name=f"{guard.split}_{one.name}") for one in metrics]


def hold(made: Sequence[Run], judged: str, guard: Guard) -> None:
    """Raises GateFailed: the first row is worse on the guard than its teacher by more than it may be. MmedgeError: there is nothing to compare.

    Args:
        made: the teacher's row is among them.
    """
    name = f"{guard.split}_{judged}"
    found = made[0].metrics[name]
    ours, theirs = found.estimate, next(run for run in made if run.kind == "teacher").metrics[name].estimate
    if ours is None or theirs is None:
        raise MmedgeError(f"the guard {guard.split} has no {judged}: {found.why}", "give its samples what they are judged by")
    lost = (ours.value - theirs.value) * (-1 if found.higher_is_better else 1)
    if lost > guard.points / 100 + ROUNDING:
        raise GateFailed(
            f"{name} is {ours.value:.3f}, and the teacher's {theirs.value:.3f}: {100 * lost:.1f} points are lost, {guard.points:g} may be",
            "train less, or on data that is nearer to that split; what was there before is kept",
        )
