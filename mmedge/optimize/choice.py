"""What a graph runs as: all that is known of its candidates becomes an order, by the target's goal and the user's budget."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from mmedge.errors import MmedgeError
from mmedge.optimize.pareto import Point, cost, front, misses, winner
from mmedge.optimize.timing import base_of
from mmedge.rated import Budget, Choice, Rated
from mmedge.target import Goal

WANTED = {"latency": "fastest", "size": "smallest", "balanced": "best in latency and size together"}
SURE = {"latency": "faster", "size": "smaller", "balanced": "better in latency and size together"}
SLOWER = "slower than fp32"


def choice(rated: Sequence[Rated], goal: Goal, budget: Budget, higher_is_better: bool) -> Choice:
    """Order a graph's candidates, and say why the first is. The budget's megabytes are the model's: see ``together``.

    The fastest fp32 stands before what is not surely faster than it, where latency is the goal. What keeps the budget comes first, what failed or could not
    be timed here last.

    Args:
        rated: in order of preference.

    Raises:
        MmedgeError: none keeps the budget: the nearest is named; or no fp32 was timed.
    """
    base = base_of(rated)
    if base is None:
        said = "; ".join(f"{one.name}: {one.note or 'cannot run here'}" for one in rated if one.precision == "fp32")
        raise MmedgeError(f"no candidate in fp32 could be timed: {said}", "mmedge doctor says what is missing here")
    budget = of_a_graph(budget)
    timed = {one.name: one for one in rated if one.usable and one.latency_ms is not None}
    points = {name: point_of(one, higher_is_better) for name, one in timed.items()}
    best = {point.name for point in front(list(points.values()))}
    sure = [point for name, point in points.items() if goal != "latency" or name == base.name or _surely_faster(timed[name])]
    order: list[Point] = []
    for group in (_within(sure, budget), _within(list(points.values()), budget), list(points.values())):
        while left := [point for point in group if point not in order]:
            order.append(winner(left, points[base.name], goal))
    if misses(budget, order[0]):
        winner(list(points.values()), points[base.name], goal, budget)
    rest = sorted((one for one in rated if one.name not in points), key=lambda one: not one.passed)
    marked = [timed[point.name].model_copy(update={"pareto": point.name in best, "note": _noted(timed[point.name])}) for point in order]
    tied = any(cost(point, points[base.name], goal) < cost(order[0], points[base.name], goal) for point in _within(sure, budget))
    return Choice(chosen=order[0].name, why=why(timed[order[0].name], base, goal, budget, tied), rated=(*marked, *rest))


def unmeasured(rated: Sequence[Rated], placed: str, there: str) -> Choice:
    """Where nothing can be timed here: what the graph is placed as stays.

    Args:
        placed: name of that candidate; where it is none of them, the first in fp32 is taken for it.
        there: how it is measured, for people.
    """
    names = [one.name for one in rated]
    kept = placed if placed in names else next(one.name for one in rated if one.precision == "fp32")
    order = sorted(rated, key=lambda one: (one.name != kept, not one.passed))
    return Choice(chosen=kept, why=f"nothing is timed here: {there}", rated=tuple(order))


def alternatives(found: Choice, budget: Budget, higher_is_better: bool) -> list[str]:
    """What may be taken instead of the chosen one: those after it that were timed and keep the budget."""
    names = [one.name for one in found.rated]
    if found.of(found.chosen).precision == "fp32":
        return []
    if found.of(found.chosen).latency_ms is None:
        return [one.name for one in found.rated if one.precision == "fp32"]
    return [one.name for one in takeable(found, budget, higher_is_better) if names.index(one.name) > names.index(found.chosen)]


def takeable(found: Choice, budget: Budget, higher_is_better: bool) -> list[Rated]:
    """Those that a graph may run as here, in their order: they were timed, and keep what the budget says of each graph."""
    timed = [one for one in found.rated if one.usable and one.latency_ms is not None]
    return [one for one in timed if not misses(of_a_graph(budget), point_of(one, higher_is_better))]


def instead(found: Choice, name: str, why: str) -> Choice:
    """Another candidate of the same graph is taken, and the chosen one is not taken any more."""
    rated = tuple(one.model_copy(update={"demoted": True, "pareto": False}) if one.name == found.chosen else one for one in found.rated)
    return found.model_copy(update={"chosen": name, "why": why, "rated": rated})


def _within(points: Sequence[Point], budget: Budget) -> list[Point]:
    return [point for point in points if not misses(budget, point)]


def of_a_graph(budget: Budget) -> Budget:
    """What of a budget each graph is held to."""
    return budget.model_copy(update={"max_mb": None})


def _surely_faster(one: Rated) -> bool:
    return one.ratio is not None and one.ratio.high < 1


def point_of(one: Rated, higher_is_better: bool) -> Point:
    """Memory in whole megabytes: readings of one candidate differ by less. Where the system does not tell, it is as bad as can be."""
    if one.metric is None or one.latency_ms is None:
        raise MmedgeError(f"{one.name} was not evaluated", "quantize again: mmedge quantize")
    scale = one.latency_ms / one.ratio.value if one.ratio else 0.0
    between_ms = (scale * one.ratio.low, scale * one.ratio.high) if one.ratio else None
    memory_mb = float(round(one.memory_mb)) if one.memory_mb is not None else inf
    sure = one.loss is None or one.loss.word == "kept"
    return Point(one.name, one.metric.value, one.latency_ms, one.size_mb, memory_mb, higher_is_better, between_ms, sure)


def _noted(one: Rated) -> str:
    """Nothing slower than fp32 goes by in silence."""
    others = [said for said in one.note.split("; ") if said not in ("", SLOWER)]
    return "; ".join([*others, *([SLOWER] if one.ratio is not None and one.ratio.low > 1 else [])])


def why(one: Rated, base: Rated, goal: Goal, budget: Budget, tied: bool) -> str:
    """Why a candidate is chosen, for people.

    Args:
        budget: that it keeps.
        tied: others are as good by the goal, within what counts as clearly better.
    """
    within = within_budget(budget)
    if one.name == base.name:
        return f"no other that holds is surely {SURE[goal]}{within}"
    surely = "surely " if one.loss is not None and one.loss.word == "kept" else ""
    first = f"the most accurate of the {WANTED[goal]} that {surely}hold" if tied else f"the {WANTED[goal]} that holds"
    return f"{first}{within}: {pace(one, base)}"


def pace(one: Rated, base: Rated) -> str:
    """What a candidate is beside fp32; and whether the data only just let it pass."""
    assert one.ratio is not None
    slower = f", {SLOWER}" if one.ratio.low > 1 else ""
    unsure = f", undecided by {one.loss.found.n} units" if one.loss is not None and one.loss.word == "undecided" else ""
    times = f"{one.ratio.value:.2f} times {base.name} ({one.ratio.low:.2f} to {one.ratio.high:.2f})"
    return f"{times}{slower}, {one.size_mb:.1f} of {base.size_mb:.1f} MB{unsure}"


def within_budget(budget: Budget) -> str:
    """As it was asked for; empty where nothing was."""
    limits = [f"--{name.replace('_', '-')} {value:g}" for name, value in budget.model_dump().items() if value is not None]
    return f" within {', '.join(limits)}" if limits else ""
