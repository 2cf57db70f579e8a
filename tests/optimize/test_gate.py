"""The gate on what a candidate loses."""

from __future__ import annotations

import numpy as np
import pytest

from mmedge.errors import MmedgeError
from mmedge.evaluate.metrics.bootstrap import Draft, Metric, Samples, mean, measure
from mmedge.optimize.gate import judge


def metric(rows, **more):
    return measure([Draft("accuracy", Samples(np.asarray(rows, float).reshape(-1, 1), mean), **more)])[0]


def answers(n, right, seed=0):
    return (np.random.default_rng(seed).random(n) < right).astype(float)


def test_equal_answers_prove_nothing_where_they_are_few():
    """A candidate that loses 5 points answers 20 questions as fp32 does in one of three draws: 0.95 ** 20."""
    rows = answers(20, 0.8)
    made = judge(metric(rows), metric(rows))
    assert (made.word, made.passed, made.loss.value) == ("undecided", True, 0.0)
    assert (made.loss.low, made.loss.high, made.enough) == (-0.15, 0.15, 300)
    assert "20 units are too few to tell, about 300 would do: none of them differs" in str(made)
    assert 0.95**20 > 1 / 3


def test_as_many_equal_answers_as_the_rule_of_three_asks_for_do():
    """By the binomial distribution: a candidate that differs in more than 1 % of all units differs in none of 300 with less than 5 %."""
    rows = answers(300, 0.8)
    assert judge(metric(rows), metric(rows)).word == "kept" and 0.99**300 < 0.05
    assert judge(metric(rows[:290]), metric(rows[:290])).word == "undecided"
    assert judge(metric(rows[:60]), metric(rows[:60]), allowed=0.05).word == "kept"
    assert judge(metric(rows), metric(rows), allowed=0.0).word == "undecided"
    assert judge(metric(rows[:1]), metric(rows[:1])).enough == 300


def test_a_loss_beyond_what_is_allowed_fails():
    rows = answers(1000, 0.9)
    worse = rows.copy()
    worse[np.flatnonzero(rows)[:25]] = 0
    made = judge(metric(rows), metric(worse))
    assert (made.word, made.passed) == ("lost", False)
    assert str(made).startswith("accuracy: +2.50 points lost (+1.") and str(made).endswith("1 allowed")
    assert judge(metric(rows), metric(worse), allowed=0.05).word == "kept"


def test_an_interval_that_reaches_beyond_is_undecided_and_says_how_many_would_tell():
    rows = answers(200, 0.8)
    other = rows.copy()
    other[np.flatnonzero(rows == 1)[:6]], other[np.flatnonzero(rows == 0)[:6]] = 0, 1  # as many right answers, not the same ones
    made = judge(metric(rows), metric(other))
    assert made.word == "undecided" and made.passed and made.loss.value == 0
    assert made.enough > 200 and f"200 units are too few to tell, about {made.enough} would do" in str(made)
    many = judge(metric(np.tile(rows, 60)), metric(np.tile(other, 60)))
    assert many.word == "kept"  # the same answers from more units than it asked for


def test_a_loss_on_the_limit_is_never_told_by_more_units():
    rows = answers(100, 0.9)
    worse = rows.copy()
    worse[np.flatnonzero(rows)[0]] = 0
    made = judge(metric(rows), metric(worse), allowed=0.01 + 1e-12)
    assert made.word == "undecided" and made.loss.value == pytest.approx(0.01)


def test_of_an_error_rate_more_is_worse():
    rows = np.zeros(100)
    worse = rows.copy()
    worse[:5] = 1
    assert judge(metric(rows, higher_is_better=False), metric(worse, higher_is_better=False)).word == "lost"
    assert judge(metric(worse, higher_is_better=False), metric(rows, higher_is_better=False)).word == "kept"


def test_a_metric_that_could_not_be_computed_judges_nothing():
    missing = Metric("meteor", None, why="not computed: Java missing")
    with pytest.raises(MmedgeError, match="Java missing"):
        judge(missing, missing)
