"""Series whose nature is known, and readings of machines that were disturbed."""

from __future__ import annotations

import numpy as np
import pytest
from made import QUIET, during

from mmedge.profile import estimates
from mmedge.profile.machine import Conditions, Reading
from mmedge.profile.protocol import measure
from mmedge.profile.report import Rules, Samples, WarmUp
from mmedge.profile.verdict import drift, judge

SETTLED = WarmUp(runs=30, seconds=0.3, stable=True)


def series(values_ms, dropped_ms=()):
    values_ms = np.asarray(values_ms)
    starts = np.concatenate([[0], np.cumsum(values_ms)[:-1]])
    return Samples(start_ms=tuple(starts.tolist()), latency_ms=tuple(values_ms.tolist()), dropped_ms=dropped_ms)


def noisy(n=300, ms=10.0, scatter=0.03, seed=0):
    return ms * np.random.default_rng(seed).lognormal(0, scatter, n)


def ramp(share, n=300, scatter=0.03, seed=0):
    return noisy(n, scatter=scatter, seed=seed) * np.linspace(1, 1 + share, n)


def word(samples, conditions=QUIET, **more):
    return judge(samples, conditions, warm_up=SETTLED, **{"cores": 1.9, "available": 2, **more}).word


# Stable


def heavy_tailed(random, n):
    """Student's t with two degrees of freedom: its variance is infinite."""
    return 10 * (1 + 0.04 * np.abs(random.standard_t(2, n)))


def stalling(random, n):
    """One call in fifty takes thirty times as long."""
    return 10 * random.lognormal(0, 0.05, n) * np.where(random.random(n) < 0.02, 30, 1)


def remembering(random, n, memory=0.5, scatter=0.02):
    """Each deviation keeps a part of the one before."""
    noise = random.normal(0, 10 * scatter * np.sqrt(1 - memory**2), n)
    for step in range(1, n):
        noise[step] += memory * noise[step - 1]
    return 10 + noise


@pytest.mark.parametrize("draw", [heavy_tailed, stalling, remembering])
@pytest.mark.parametrize("n", [64, 300])
def test_noise_without_a_trend_is_stable(draw, n, monkeypatch):
    monkeypatch.setattr(estimates, "RESAMPLES", 500)  # a hundred series in a second
    words = [word(series(draw(np.random.default_rng(seed), n))) for seed in range(100)]
    assert words.count("stable") >= 95


def test_slow_noise_is_no_drift():
    """Of 10 %, each deviation four fifths of the one before: ends differ, and neighbours agree."""
    drawn = [remembering(np.random.default_rng(seed), 64, memory=0.8, scatter=0.1) for seed in range(100)]
    assert sum(drift(series(values)).real for values in drawn) <= 5


def test_a_stable_verdict_says_what_was_looked_at():
    told = judge(series(noisy()), QUIET, warm_up=SETTLED, cores=1.9, available=2)
    assert told.word == "stable"
    assert "300 samples" in told.evidence[0] and "the median lies between" in told.evidence[0]
    assert "first fifth" in told.evidence[1]
    assert "0.04 cores" in told.evidence[2] and "55 °C" in told.evidence[2]
    assert "not looked at" in judge(series(noisy()), None).evidence[2]
    assert "tells nothing" in judge(series(noisy()), Conditions(before=Reading(), during=Reading(), after=Reading())).evidence[2]


# Drifting


@pytest.mark.parametrize("share", [0.3, -0.25])
@pytest.mark.parametrize("n", [20, 64, 4096])
def test_a_ramp_is_drifting(share, n):
    words = [word(series(ramp(share, n, seed=seed))) for seed in range(5 if n > 1000 else 20)]
    assert set(words) == {"drifting"}


def test_a_drift_is_told_with_its_figures():
    told = judge(series(ramp(0.3, scatter=0)), QUIET).evidence[0]
    assert "10.3 to 12.7 ms" in told and "+23.4%" in told  # medians of the fifths of a line from 10 to 13
    assert "slope +7.5" in told and "% a second" in told  # 30 % of 10 ms over 3.45 s, of a median of 11.5 ms


def test_calls_that_took_no_time_are_no_trouble():
    assert word(series(np.zeros(100))) == "stable"


def test_a_step_in_the_middle_is_drifting():
    assert word(series(noisy() * np.where(np.arange(300) < 150, 1, 1.2))) == "drifting"


def test_a_drift_too_small_to_matter_is_not_one():
    assert word(series(ramp(0.03, 4096, scatter=0.001))) == "stable"


def test_one_slow_end_among_noise_is_not_a_drift():
    """A difference of the ends alone, without a trend between them."""
    values = noisy(300, scatter=0.01)
    values[-60:] *= 1.08
    values[60:120] *= 1.2
    assert word(series(values)) != "drifting"


def test_turns_without_moments_can_drift_as_well():
    assert judge(Samples(latency_ms=tuple(ramp(0.5, 40))), None).word == "drifting"


# Throttled


def test_a_heated_and_slowed_clock_is_throttled():
    hot = during(temperature_c=96, clock_mhz=1600)
    told = judge(series(ramp(0.3)), hot, warm_up=SETTLED, cores=1.9, available=2)
    assert told.word == "throttled"
    assert "2000 to 1600 MHz" in told.evidence[0] and "96 °C" in told.evidence[1]
    assert "first fifth" in told.evidence[2]  # the symptom is told as well


@pytest.mark.parametrize("readings", [{"temperature_c": None, "clock_mhz": 1600}, {"temperature_c": 91, "clock_mhz": None}])
def test_either_sign_explains_calls_that_slowed(readings):
    assert word(series(ramp(0.3)), during(**readings)) == "throttled"
    assert word(series(ramp(-0.25)), during(**readings)) == "drifting"  # a chip that slows down makes nothing faster


def test_a_chip_that_was_hot_from_the_start_is_throttled():
    assert word(series(noisy()), during(temperature_c=95, clock_mhz=1500)) == "throttled"


@pytest.mark.parametrize("readings", [{"clock_mhz": 1700}, {"temperature_c": 90}])
def test_a_lower_clock_or_a_warm_chip_alone_proves_nothing(readings):
    assert word(series(noisy()), during(**readings)) == "stable"


# Contended


def test_a_burner_beside_the_calls_is_contended():
    told = judge(series(noisy(scatter=0.2)), during(others=1.1), warm_up=SETTLED, cores=0.9, available=2)
    assert told.word == "contended"
    assert "1.10 cores" in told.evidence[0] and "0.90 of 2" in told.evidence[0]


def test_others_are_welcome_to_cores_that_nobody_needs():
    assert word(series(noisy()), during(others=2.0), cores=1.0, available=8) == "stable"
    assert word(series(noisy()), during(others=2.0), cores=6.5, available=8) == "contended"
    assert word(series(noisy()), during(others=0.1), cores=1.9, available=2) == "stable"


def test_stolen_time_is_contended():
    assert word(series(noisy()), during(steal=0.12)) == "contended"
    assert word(series(noisy()), during(steal=0.01)) == "stable"


def slow(conditions=QUIET, **times):
    told = Reading(slowdown={work.replace("_", " "): value for work, value in times.items()})
    return conditions.model_copy(update={"before": conditions.before.model_copy(update={"slowdown": told.slowdown}), "after": told})


def test_a_machine_slower_than_its_best_is_contended():
    told = judge(series(noisy()), slow(arithmetic=1.31, memory=1.1), warm_up=SETTLED)
    assert told.word == "contended" and "arithmetic took at least 1.31 times as long" in told.evidence[0]
    assert word(series(noisy()), slow(arithmetic=1.05, memory=1.2)) == "stable"
    assert word(series(noisy()), slow(memory=1.4)) == "contended"
    everywhere = slow(arithmetic_on_every_core=1.5)
    assert [word(series(noisy()), everywhere, cores=cores, available=2) for cores in (1.0, 1.9)] == ["stable", "contended"]


@pytest.mark.parametrize("end", ["before", "after"])
def test_of_a_machine_that_was_slow_at_one_end_the_calls_themselves_tell(end):
    changed = slow(arithmetic=1.31).model_copy(update={end: Reading(slowdown={"arithmetic": 1.0})})
    assert word(series(noisy()), changed) == "stable"


def test_a_cause_that_is_known_explains_a_slow_machine():
    told = judge(series(ramp(0.3)), slow(during(temperature_c=96, clock_mhz=1600), arithmetic=1.3), warm_up=SETTLED, cores=1.9, available=2)
    assert told.word == "throttled" and not any("arithmetic" in sentence for sentence in told.evidence)


def test_the_load_speaks_where_others_are_not_told():
    untold = during(others=None)
    for load, expected in ((3.9, "contended"), (2.1, "stable")):
        assert word(series(noisy()), untold.model_copy(update={"before": Reading(load=load)})) == expected
        told = QUIET.model_copy(update={"before": Reading(load=load)})
        assert word(series(noisy()), told) == "stable"  # an average of a minute ago, against what was seen


def test_a_cause_wins_over_a_symptom_and_the_burner_over_the_heat():
    assert word(series(ramp(0.3)), during(others=1.1)) == "contended"
    both = judge(series(ramp(0.3)), during(others=1.1, temperature_c=96, clock_mhz=1600), cores=0.9, available=2)
    assert both.word == "contended"
    assert [any(said in sentence for sentence in both.evidence) for said in ("1.10 cores", "96 °C", "first fifth")] == [True] * 3


# Unstable


def test_a_median_that_is_not_known_is_unstable():
    told = judge(series(noisy(30, scatter=0.6)), QUIET)
    assert told.word == "unstable" and "the median lies between" in told.evidence[0]
    assert word(series(noisy(3000, scatter=0.6))) == "stable"  # enough samples carry it


def test_two_levels_in_turn_are_unstable_although_each_is_quiet():
    level = np.repeat([1, 1.4, 1, 1.4, 1, 1.4], 50)
    assert word(series(noisy(300, scatter=0.01) * level)) == "unstable"


def test_slow_waves_do_not_pass_for_samples_that_agree():
    """Three long waves of 20 %: the next run of this length may begin anywhere on them."""
    assert word(series(noisy(600, scatter=0.01) * (1 + 0.2 * np.cos(np.linspace(0, 6 * np.pi, 600))))) == "unstable"


def test_too_few_samples_are_unstable():
    told = judge(series(noisy(5)), QUIET)
    assert told.word == "unstable" and told.evidence[0].startswith("5 samples are too few")
    assert judge(series(noisy(5)), during(others=1.9)).word == "contended"
    assert judge(Samples(latency_ms=()), None).word == "unstable"


def test_a_warm_up_that_never_settled_is_unstable():
    told = judge(series(noisy()), QUIET, warm_up=WarmUp(runs=1000, seconds=10.0, stable=False))
    assert told.word == "unstable" and "1000 calls of warm-up in 10.0 s" in told.evidence[0]


def test_calls_that_were_given_up_are_unstable():
    told = judge(series(noisy(), dropped_ms=(1.0, 2.0, 3.0)), QUIET)
    assert told.word == "unstable" and "3 of 303 calls were given up" in told.evidence[0] and "keep up" in told.evidence[0]


def test_calls_that_come_faster_than_they_are_served_are_said_to_come_too_fast():
    def paced(served_ms):
        clock = Scripted(served_ms / 1e3)
        return measure(clock.call, Rules(mode="paced", rate_hz=100, seconds=2), clock).samples

    told = judge(paced(12.0), None)
    assert told.word == "unstable" and told.evidence[0].startswith("it does not keep up with its pace: at the end, ")
    assert judge(paced(9.0), None).word == "stable"
    busy = Conditions(before=Reading(), during=Reading(others=1.0), after=Reading())
    assert judge(paced(12.0), busy, cores=1.0, available=2).evidence[0].startswith("it does not keep up")


class Scripted:
    """A clock that only a call moves, and a wait."""

    def __init__(self, served_s):
        self.served_s, self.time_s = served_s, 0.0

    def now_s(self):
        return self.time_s

    def sleep_until(self, time_s):
        self.time_s = max(self.time_s, time_s)

    def call(self):
        self.time_s += self.served_s
