"""Against scipy's bootstrap and against spreads that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mmedge.evaluate.metrics.bootstrap import AT_ONCE, RESAMPLES, Draft, Samples, mean, measure, paired, ratio, resamples


def metric(values, name="m", reduce=mean):
    rows = np.array(values, dtype=np.float64)
    return measure([Draft(name, Samples(rows.reshape(len(rows), rows.shape[-1] if rows.ndim > 1 else 1), reduce))])[0]


def test_interval_of_a_mean_is_as_wide_as_scipys():
    values = np.random.default_rng(1).gamma(2, size=300)
    ours = metric(values).estimate
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=2).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.15 * (theirs.high - theirs.low))
    assert (ours.n, ours.note) == (300, "")


def test_interval_holds_the_truth_about_as_often_as_it_says():
    draw = np.random.default_rng(0)
    found = measure([Draft("m", Samples(draw.normal(3.0, 1.0, (60, 1)), mean)) for _ in range(400)])
    held = np.mean([metric.estimate.low <= 3 <= metric.estimate.high for metric in found])
    assert 0.90 <= held <= 0.98  # 95 %, a little less for the percentile method at 60 units; the sd of 400 trials is 1.1 %


def test_a_ratio_is_resampled_as_one():
    rows = np.array([[1, 10], [0, 1], [3, 4], [2, 30]] * 20)
    found = metric(rows, reduce=ratio)
    assert found.estimate.value == 6 / 45
    assert found.estimate.low < 6 / 45 < found.estimate.high < np.mean(rows[:, 0] / rows[:, 1])


def test_the_same_each_time():
    assert metric([0, 1, 1, 0, 1]).estimate == metric([0, 1, 1, 0, 1]).estimate


@pytest.mark.parametrize("n", [1, 7, AT_ONCE // 3])
def test_every_resample_draws_as_many_units_as_there_are(n):
    chunk = next(iter(resamples(n)))
    assert (chunk.sum(axis=1) == n).all() and chunk.shape[1] == n and chunk.size <= max(AT_ONCE, n)
    if n < 10:
        assert sum(len(chunk) for chunk in resamples(n)) == RESAMPLES


def test_a_paired_difference_is_surer_than_two_intervals():
    draw = np.random.default_rng(3)
    hard = draw.normal(size=200)
    ours, theirs = metric(hard + 0.1 + draw.normal(0, 0.05, 200)), metric(hard)
    difference = paired(ours, theirs)
    assert difference.value == pytest.approx(ours.estimate.value - theirs.estimate.value)
    assert 0.08 < difference.low < difference.high < 0.12
    assert ours.estimate.low < theirs.estimate.high  # which apart look alike


def test_what_cannot_be_paired_is_refused():
    whole = metric([1, 0, 1])
    for other in (metric([1, 0]), metric([1, 0, 1], name="other"), metric([])):
        with pytest.raises(ValueError, match="not of the same metric and units"):
            paired(whole, other)


def test_degenerate_intervals_say_so():
    assert metric([1, 1, 1]).estimate.note == "the 3 units show no spread: nothing is known of others"
    assert metric([0.5]).estimate.note == "a single unit"
    assert paired(metric([1, 0, 1]), metric([1, 0, 1])).note.startswith("the 3 units show no spread")
    sparse = metric([[1, 2], [0, 0], [0, 0]], reduce=ratio).estimate
    assert sparse.value == 0.5 and "resamples have no value" in sparse.note


def test_no_units_give_a_reason_and_no_figure():
    empty = metric([])
    assert (empty.estimate, empty.why, empty.samples) == (None, "there are no samples", None)
    nothing = measure([Draft("wer", Samples(np.zeros((2, 2)), ratio), "every reference is empty")])[0]
    assert (nothing.estimate, nothing.why) == (None, "every reference is empty")
