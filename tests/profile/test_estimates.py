"""Against scipy, against MLPerf's rule derived anew, and against distributions whose quantiles are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mmedge.errors import MmedgeError
from mmedge.profile import estimates
from mmedge.profile.estimates import ratio_of_medians, summarise


@pytest.mark.parametrize(("percent", "samples"), [(90, 64), (99, 662)])
def test_a_percentile_is_withheld_below_the_count_of_mlperfs_early_stopping_rule(percent, samples):
    """The fewest queries of which, were the percentile's true rate of late ones any higher, only one would be late in less than 1 % of runs."""

    def chance(n):
        late = 1 - percent / 100
        return (1 - late) ** n + n * late * (1 - late) ** (n - 1)

    fewest = next(n for n in range(1, 1000) if chance(n) <= 0.01)
    assert fewest == samples
    drawn = list(np.random.default_rng(0).gamma(2, 5, samples))
    told = [getattr(summarise(drawn[:count]), f"p{percent}_ms") for count in (fewest - 1, fewest)]
    assert told == [None, pytest.approx(np.percentile(drawn, percent), abs=1e-4)]
    assert getattr(summarise(drawn[:-1]), f"p{percent}_interval_ms") is None


def test_the_figures_are_numpys():
    drawn = np.random.default_rng(1).lognormal(1, 1, 800)
    made = summarise(drawn)
    assert made.n == 800
    assert [made.p50_ms, made.p90_ms, made.p99_ms, made.min_ms, made.max_ms] == pytest.approx(
        [*np.percentile(drawn, [50, 90, 99]), drawn.min(), drawn.max()], abs=1e-4
    )


def test_no_samples_are_refused():
    with pytest.raises(MmedgeError, match="no samples"):
        summarise([])


@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (6, 0.5), (64, 0.9), (662, 0.99), (4096, 0.5), (20_000, 0.99)])
def test_the_binomial_is_scipys(n, p):
    assert np.allclose(estimates.binomial_cdf(n, p), stats.binom.cdf(np.arange(n + 1), n, p), rtol=0, atol=1e-8)


@pytest.mark.parametrize("n", [6, 20, 64, 4096])
def test_the_interval_of_a_median_is_scipys(n):
    """scipy's exact one: both ends at confidence 1 - 2.5 %."""
    drawn = np.random.default_rng(n).normal(100, 5, n)
    theirs = [
        getattr(stats.quantile_test(drawn, p=0.5, alternative=side).confidence_interval(0.975), end) for side, end in (("greater", "low"), ("less", "high"))
    ]
    assert summarise(drawn).p50_interval_ms == pytest.approx(theirs, abs=1e-4)


def test_five_samples_hold_no_interval_of_the_median():
    assert summarise([1.0] * 5).p50_interval_ms is None
    assert summarise([1.0] * 6).p50_interval_ms == (1.0, 1.0)


@pytest.mark.parametrize(("figure", "quantile"), [("p50", 0.5), ("p90", 0.9)])
def test_intervals_hold_the_true_quantile_in_about_95_of_100_draws(figure, quantile):
    random = np.random.default_rng(0)
    true_ms = stats.lognorm.ppf(quantile, 0.5, scale=10)
    held = [low <= true_ms <= high for low, high in (getattr(summarise(10 * random.lognormal(0, 0.5, 150)), f"{figure}_interval_ms") for _ in range(500))]
    assert 0.93 <= np.mean(held) <= 0.985  # exact ones hold 95 % or a little more: ranks are whole


def autocorrelated(random, n, memory=0.8):
    """A first-order autoregression around 100 ms."""
    noise = random.normal(0, 1, n)
    series = [noise[0] / np.sqrt(1 - memory**2)]
    for step in noise[1:]:
        series.append(memory * series[-1] + step)
    return 100 + np.array(series)


def coverage(draw, *, paired, of=150):
    random = np.random.default_rng(2)
    held = []
    for _ in range(of):
        ours, theirs = draw(random), draw(random)
        _, low, high = ratio_of_medians(ours, theirs, paired=paired)
        held.append(low <= 1 <= high)
    return np.mean(held)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(estimates, "RESAMPLES", 250)


def test_a_ratio_holds_the_truth_for_independent_samples(quick):
    assert 0.9 <= coverage(lambda random: random.gamma(4, 5, 100), paired=False) <= 0.995


def test_autocorrelation_does_not_narrow_a_ratio(quick, monkeypatch):
    def draw(random):
        return autocorrelated(random, 400)

    assert coverage(draw, paired=False) >= 0.86  # about 90 % in the long run: blocks of a finite series always forget a little
    monkeypatch.setattr(estimates, "block_length", lambda values: 1)
    assert coverage(draw, paired=False, of=50) < 0.7  # what samples drawn one by one would claim


def test_pairs_cancel_what_both_felt():
    """A machine that slows down by half during the comparison, and a difference of 2 %."""
    random = np.random.default_rng(3)
    machine = np.linspace(10, 15, 60)
    ours, theirs = machine * 1.02 * random.normal(1, 0.002, 60), machine * random.normal(1, 0.002, 60)
    ratio, low, high = ratio_of_medians(ours, theirs, paired=True)
    assert 1 < low < ratio < high < 1.06
    _, low, high = ratio_of_medians(ours, theirs, paired=False)
    assert low < 0.95 and high > 1.1


def test_a_ratio_is_the_same_each_time_and_turns_around():
    random = np.random.default_rng(4)
    ours, theirs = random.gamma(4, 5, 50), 2 * random.gamma(4, 5, 80)
    ratio, low, high = ratio_of_medians(ours, theirs, paired=False)
    assert (ratio, low, high) == ratio_of_medians(ours, theirs, paired=False)
    assert ratio == np.median(ours) / np.median(theirs)
    assert ratio_of_medians(theirs, ours, paired=False) == pytest.approx((1 / ratio, 1 / high, 1 / low), rel=0.05)


def test_a_few_samples_prove_no_difference():
    assert ratio_of_medians([1.0] * 5, [9.0] * 50, paired=False) == (pytest.approx(1 / 9), 0, np.inf)
    assert ratio_of_medians([1.0] * 6, [9.0] * 6, paired=False)[2] < 1


def test_uneven_pairs_are_a_mistake_and_zeros_are_not():
    with pytest.raises(ValueError):
        ratio_of_medians([1.0] * 7, [1.0] * 8, paired=True)
    assert np.isfinite(ratio_of_medians([0.0] * 7, [0.0] * 7, paired=True)).all()


def test_blocks_are_as_long_as_the_memory_of_a_series():
    random = np.random.default_rng(5)
    assert np.median([estimates.block_length(random.normal(size=400)) for _ in range(21)]) == 1
    assert np.median([estimates.block_length(autocorrelated(random, 400)) for _ in range(21)]) >= 10
    assert estimates.block_length(np.ones(50)) == 1
