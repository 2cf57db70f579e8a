"""The model as a whole with every graph as it was chosen: losses that each hold alone may add up."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmedge.errors import GateFailed, MmedgeError
from mmedge.evaluate.metrics.bootstrap import Metric
from mmedge.optimize import judging
from mmedge.optimize.choice import alternatives, instead
from mmedge.optimize.gate import Judged
from mmedge.optimize.together import together
from mmedge.rated import Budget, Choice
from mmedge.target import Goal

if TYPE_CHECKING:
    from mmedge.optimize.survivors import Survivor
    from mmedge.optimize.work import Work


@dataclass(frozen=True, eq=False)
class Whole:
    """What every graph runs as, and how good the model is with that."""

    choices: dict[str, Choice]
    metric: Metric
    judged: Judged


def hold(work: Work, choices: Mapping[str, Choice], survivors: Mapping[str, Sequence[Survivor]], goal: Goal, budget: Budget) -> Whole:
    """See that the model holds its gate; while it does not, the graph whose candidate loses most takes the next in its order, fp32 at last.

    Within a limit of megabytes, the other graphs make room for it where they can.

    Raises:
        MmedgeError: it does not hold with anything that keeps the budget.
        GateFailed: it does not hold in fp32 on the target's own runtimes.
    """
    held = dict(choices)
    while True:
        chosen = {key: next((one.backend, one.candidate) for one in survivors[key] if one.rated.name == found.chosen) for key, found in held.items()}
        judged, metric = judging.judged(work, chosen), judging.metric(work, chosen)
        broken = _breaks(judged, metric, budget)
        if not broken:
            return Whole(held, metric, judged)
        after = _next(work.role, held, broken, goal, budget, metric.higher_is_better)
        if after is None:
            raise _nothing_left(work, held, broken, budget)
        for key, found in after.items():
            if found.chosen != held[key].chosen:
                work.report(f"{work.role}/{key}: {found.chosen}, {found.why}")
        held = after


def _next(role: str, held: Mapping[str, Choice], broken: str, goal: Goal, budget: Budget, higher_is_better: bool) -> dict[str, Choice] | None:
    """Without the candidate that loses most, of those that can be spared; None where none can."""
    for key in sorted(held, key=lambda one: -_lost(held[one])):
        if others := alternatives(held[key], budget, higher_is_better):
            why = f"the next after {held[key].chosen}, with which the model as a whole does not hold: {broken}"
            with contextlib.suppress(MmedgeError):
                return together(role, {**held, key: instead(held[key], others[0], why)}, goal, budget, higher_is_better)
    return None


def _breaks(judged: Judged, metric: Metric, budget: Budget) -> str:
    """What the model as a whole does not keep; empty where it keeps all."""
    if not judged.passed:
        return str(judged)
    if budget.min_metric is None or metric.estimate is None:
        return ""
    value, better = metric.estimate.value, 1 if metric.higher_is_better else -1
    return "" if better * (value - budget.min_metric) >= 0 else f"{metric.name} is {value:.3f} of at {'least' if better > 0 else 'most'} {budget.min_metric:g}"


def _lost(found: Choice) -> float:
    loss = found.of(found.chosen).loss
    return loss.found.value if loss else 0.0


def _nothing_left(work: Work, held: Mapping[str, Choice], broken: str, budget: Budget) -> MmedgeError:
    ran = ", ".join(f"{key} by {found.chosen}" for key, found in held.items())
    if all(found.of(found.chosen).precision == "fp32" for found in held.values()) and budget.min_metric is None:
        return GateFailed(f"{work.role} does not hold its gate in fp32 with {ran}: {broken}", f"compare the runtimes: mmedge check {work.bundle.path} --bisect")
    return MmedgeError(f"nothing that keeps the budget holds for {work.role} as a whole: {broken} with {ran}", "raise the limit, or leave it out")
