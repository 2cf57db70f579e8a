"""The Pareto set, and the choice from it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mmedge.errors import MmedgeError
from mmedge.optimize.pareto import Point, front, winner
from mmedge.rated import Budget

FP32 = Point("fp32", 0.80, 10.0, 100.0, 300.0)
INT8 = Point("int8", 0.795, 4.0, 26.0, 200.0)
BF16 = Point("bf16", 0.80, 5.0, 100.0, 300.0)
INT4 = Point("int4", 0.79, 9.0, 14.0, 150.0)
SLOW = Point("slow int8", 0.78, 12.0, 26.0, 200.0)
ALL = [FP32, INT8, BF16, INT4, SLOW]


def test_what_another_beats_in_everything_is_not_in_the_set():
    assert front(ALL) == [INT8, BF16, INT4]


def test_equal_candidates_both_stay():
    twin = Point("twin", *[getattr(INT8, name) for name in ("metric", "latency_ms", "size_mb", "memory_mb")])
    assert front([INT8, twin]) == [INT8, twin]


def test_the_set_is_what_its_definition_says():
    random = np.random.default_rng(0)
    points = [Point(str(number), *map(float, random.integers(0, 6, 4) + 1)) for number in range(60)]
    kept = front(points)
    for point in points:
        better = [
            other
            for other in points
            if other.metric >= point.metric and other.latency_ms <= point.latency_ms and other.size_mb <= point.size_mb and other.memory_mb <= point.memory_mb
        ]
        strictly = [
            other
            for other in better
            if (other.metric, other.latency_ms, other.size_mb, other.memory_mb) != (point.metric, point.latency_ms, point.size_mb, point.memory_mb)
        ]
        assert (point in kept) == (not strictly)
    assert all(one.latency_ms <= two.latency_ms for one, two in pairwise(kept))


@pytest.mark.parametrize(("goal", "expected"), [("latency", INT8), ("size", INT4), ("balanced", INT8)])
def test_the_goal_decides(goal, expected):
    assert winner(ALL, FP32, goal) == expected


def test_of_equals_the_better_metric_wins():
    better = Point("better", 0.799, INT8.latency_ms, 90.0, 1.0)
    assert winner([INT8, better], FP32, "latency") == better


@pytest.mark.parametrize(
    ("budget", "expected"), [(Budget(min_metric=0.798), BF16), (Budget(max_mb=20), INT4), (Budget(max_latency_ms=6, max_mb=50), INT8), (Budget(), INT8)]
)
def test_limits_come_before_the_goal(budget, expected):
    assert winner(ALL, FP32, "latency", budget) == expected


def test_a_budget_that_none_keeps_is_refused_with_what_each_misses():
    with pytest.raises(MmedgeError) as caught:
        winner(ALL, FP32, "latency", Budget(max_latency_ms=3, min_metric=0.9))
    assert caught.value.what == "no candidate keeps the budget: int8 4 ms a run of at most 3; bf16 5 ms a run of at most 3; int4 9 ms a run of at most 3"
    assert "int8" in caught.value.fix
