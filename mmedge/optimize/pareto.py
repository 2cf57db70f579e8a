"""Which candidates are worth keeping, and which of them is chosen: by what the target wants, or within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from mmedge.errors import MmedgeError
from mmedge.rated import Budget
from mmedge.target import Goal

CLEARLY = 0.95
"""What costs less must cost 5 % less than what is more accurate: below that it is not worth an error, nor surely more than noise."""


@dataclass(frozen=True, slots=True)
class Point:
    """A candidate that passed its gate, or one for each graph of a model together, with all that it is compared by."""

    name: str
    metric: float
    latency_ms: float
    size_mb: float
    memory_mb: float
    higher_is_better: bool = True
    """Of the metric."""
    between_ms: tuple[float, float] | None = None
    """The 95 % interval of the latency, where it has one."""
    sure: bool = True
    """The interval of what it loses is within what is allowed, too."""

    @property
    def least_ms(self) -> float:
        """As fast as it may be."""
        return self.between_ms[0] if self.between_ms else self.latency_ms

    @property
    def most_ms(self) -> float:
        return self.between_ms[1] if self.between_ms else self.latency_ms

    @property
    def gain(self) -> float:
        """The metric so that larger is better."""
        return self.metric if self.higher_is_better else -self.metric

    def beats(self, other: Point) -> bool:
        """In nothing worse, and better in something."""
        ours = (-self.gain, self.latency_ms, self.size_mb, self.memory_mb)
        theirs = (-other.gain, other.latency_ms, other.size_mb, other.memory_mb)
        return ours != theirs and all(one <= two for one, two in zip(ours, theirs))


def misses(budget: Budget, point: Point) -> str:
    """Which limit a candidate breaks and by how much; empty where it keeps all."""
    if budget.max_latency_ms is not None and point.latency_ms > budget.max_latency_ms:
        return f"{point.latency_ms:.3g} ms a run of at most {budget.max_latency_ms:g}"
    if budget.min_metric is not None and (point.metric < budget.min_metric if point.higher_is_better else point.metric > budget.min_metric):
        return f"{point.metric:.3f} of at {'least' if point.higher_is_better else 'most'} {budget.min_metric:g}"
    if budget.max_mb is not None and point.size_mb > budget.max_mb:
        return f"{point.size_mb:.1f} MB of at most {budget.max_mb:g}"
    return ""


def front(points: Sequence[Point]) -> list[Point]:
    """The Pareto set over metric, latency, size and memory: those that no other beats, the fastest first."""
    return sorted((point for point in points if not any(other.beats(point) for other in points)), key=lambda point: point.latency_ms)


def cost(point: Point, base: Point, goal: Goal) -> float:
    """What a goal makes little of, as a share of fp32's."""
    shares = point.latency_ms / base.latency_ms, point.size_mb / base.size_mb
    return {"latency": shares[0], "size": shares[1], "balanced": sqrt(shares[0] * shares[1])}[goal]


def winner(points: Sequence[Point], base: Point, goal: Goal, budget: Budget | None = None) -> Point:
    """The one that is chosen: of those that are as good as the best by the goal, one that surely holds, and then the most accurate; of equals, the first.

    As good is what is within 5 % of it, and by latency what has an interval that reaches the best one's.

    Args:
        points: in order of preference.
        base: fp32, which ``balanced`` measures gains by: the least geometric mean of latency and size as shares of fp32's.
        budget: limits come first; the goal decides between those that keep them.

    Raises:
        MmedgeError: none keeps the budget: the nearest is named.
    """
    within = [point for point in points if not (budget and misses(budget, point))]
    if within:
        best = min(within, key=lambda point: cost(point, base, goal))
        return max((point for point in within if _as_good(point, best, base, goal)), key=lambda point: (point.sure, point.gain))
    assert budget is not None
    nearest = min(points, key=lambda point: cost(point, base, goal))
    said = "; ".join(f"{point.name} {misses(budget, point)}" for point in front(points))
    raise MmedgeError(f"no candidate keeps the budget: {said}", f"raise the limit, or take what comes nearest, {nearest.name}, without one")


def _as_good(point: Point, best: Point, base: Point, goal: Goal) -> bool:
    if CLEARLY * cost(point, base, goal) <= cost(best, base, goal):
        return True
    return goal == "latency" and point.least_ms <= best.most_ms
