"""What the graphs of a model run as together: a limit of megabytes is the model's, and what one graph takes of it is lost to the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import ceil

from mmedge.errors import MmedgeError
from mmedge.optimize.choice import WANTED, of_a_graph, pace, point_of, takeable, within_budget
from mmedge.optimize.pareto import Point, front, winner
from mmedge.optimize.timing import base_of
from mmedge.rated import Budget, Choice, Rated
from mmedge.target import Goal


def size_mb(choices: Mapping[str, Choice]) -> float:
    """Of what the graphs run as."""
    return sum(found.of(found.chosen).size_mb for found in choices.values())


def fits(choices: Mapping[str, Choice], budget: Budget) -> bool:
    return budget.max_mb is None or size_mb(choices) <= budget.max_mb


def together(role: str, choices: Mapping[str, Choice], goal: Goal, budget: Budget, higher_is_better: bool) -> dict[str, Choice]:
    """The choices as they are where they keep the limit; otherwise, of all combinations of candidates that do, the best by the goal.

    Their latencies and sizes add up, and what each loses alone is taken to add up as well.

    Raises:
        MmedgeError: no combination keeps it: the smallest is named.
    """
    if fits(choices, budget):
        return dict(choices)
    bases = {key: _base(found) for key, found in choices.items()}
    able = {key: takeable(found, budget, higher_is_better) for key, found in choices.items()}
    taken = _best(able, bases, goal, budget, higher_is_better)
    if taken is None:
        raise _too_large(role, able, budget)
    return {key: _taken(found, one, bases[key], goal, budget) for (key, found), one in zip(choices.items(), taken)}


def _base(found: Choice) -> Rated:
    base = base_of(found.rated)
    assert base is not None  # whoever made the choice has timed it
    return base


def _best(able: Mapping[str, Sequence[Rated]], bases: Mapping[str, Rated], goal: Goal, budget: Budget, higher_is_better: bool) -> tuple[Rated, ...] | None:
    """One candidate for each graph; None where no combination keeps the limit."""
    worth = []
    for some in able.values():
        points = [point_of(one, higher_is_better) for one in some]
        kept = {point.name for point in front(points)}
        worth.append([one for one in some if one.name in kept])
    combinations = [one for one in product(*worth) if budget.max_mb is None or sum(each.size_mb for each in one) <= budget.max_mb]
    if not combinations:
        return None
    base = _sum("", tuple(bases.values()), tuple(bases.values()), higher_is_better)
    points = [_sum(str(number), one, tuple(bases.values()), higher_is_better) for number, one in enumerate(combinations)]
    return combinations[int(winner(points, base, goal).name)]


def _sum(name: str, some: Sequence[Rated], bases: Sequence[Rated], higher_is_better: bool) -> Point:
    points, fp32 = [point_of(one, higher_is_better) for one in some], [point_of(one, higher_is_better) for one in bases]
    return Point(
        name,
        metric=fp32[0].metric + sum(point.metric - base.metric for point, base in zip(points, fp32)),
        latency_ms=sum(point.latency_ms for point in points),
        size_mb=sum(point.size_mb for point in points),
        memory_mb=sum(point.memory_mb for point in points),
        higher_is_better=higher_is_better,
        between_ms=(sum(point.least_ms for point in points), sum(point.most_ms for point in points)),
        sure=all(point.sure for point in points),
    )


def _taken(found: Choice, one: Rated, base: Rated, goal: Goal, budget: Budget) -> Choice:
    """The choice of one graph as the combination has it."""
    if one.name == found.chosen:
        return found
    rated = (one, *(other for other in found.rated if other.name != one.name))
    said = f"the graphs together are the {WANTED[goal]}{within_budget(budget)} with it: {pace(one, base)}"
    return found.model_copy(update={"chosen": one.name, "why": said, "rated": rated})


def _too_large(role: str, able: Mapping[str, Sequence[Rated]], budget: Budget) -> MmedgeError:
    least = {key: min(some, key=lambda one: one.size_mb) for key, some in able.items()}
    total = sum(one.size_mb for one in least.values())
    named = " + ".join(f"{key} {one.name} {one.size_mb:.1f}" for key, one in least.items())
    others = within_budget(of_a_graph(budget))
    return MmedgeError(
        f"no candidates for the graphs of {role}{others} take at most {budget.max_mb:g} MB together: the smallest take {total:.1f} MB ({named})",
        f"raise the limit: --max-mb {ceil(total * 10) / 10:g}",
    )
