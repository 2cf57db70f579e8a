"""Stages that take the time they are told, on a clock that only they move."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mmedge.errors import MmedgeError
from mmedge.profile import protocol
from mmedge.profile.estimates import summarise
from mmedge.profile.protocol import interleave, measure, warm_up
from mmedge.profile.report import Rules


class Stage:
    """A clock of whole nanoseconds, and calls that take what ``took_s`` says of the call's number and moment."""

    def __init__(self, took_s):
        self.took_s, self.time_ns, self.calls = took_s, 0, 0

    def now_s(self):
        return self.time_ns / 1e9

    def sleep_until(self, time_s):
        self.time_ns = max(self.time_ns, round(time_s * 1e9))

    def __call__(self):
        self.time_ns += round(self.took_s(self.calls, self.now_s()) * 1e9)
        self.calls += 1


def steady(ms):
    return Stage(lambda number, time_s: ms / 1e3)


def run(stage, **rules):
    return measure(stage, Rules(**rules), stage)


# Warm-up


def test_warm_up_goes_on_until_the_times_have_settled():
    """The first 60 calls become faster, 40 ms down to 10 ms."""
    stage = Stage(lambda number, time_s: max(0.010, 0.040 - 0.0005 * number))
    made = warm_up(stage, stage)
    assert made.stable and made.runs == stage.calls
    assert 60 <= made.runs <= 120
    assert made.seconds == pytest.approx(stage.now_s(), abs=1e-3)


def test_a_steady_call_is_warm_after_three_windows():
    assert warm_up(stage := steady(11), stage).runs == 30
    assert warm_up(stage := steady(400), stage).runs == 9  # a second's worth is a window, however few


def test_stalls_and_noise_do_not_keep_it_from_settling():
    settled = []
    for seed in range(50):
        random = np.random.default_rng(seed)
        stage = Stage(lambda number, time_s, random=random: 0.01 * random.lognormal(0, 0.5) + (0.3 if random.random() < 0.02 else 0))
        made = warm_up(stage, stage)
        settled.append(made.stable and made.seconds < 5)
    assert sum(settled) >= 48


@pytest.mark.parametrize(
    ("took_s", "runs", "seconds"),
    [
        (lambda number, time_s: 0.01 * 1.1 ** (number / 10), (30, 20_000), (10, 11)),  # slower and slower
        (lambda number, time_s: 100.0 / (number + 1), (3, 3), (183, 184)),  # three, however long they take
        (lambda number, time_s: 1e-6 * 1.2 ** (number // 1000), (20_000, 20_000), (0, 1)),
    ],
)
def test_warm_up_ends_and_says_that_nothing_settled(took_s, runs, seconds):
    stage = Stage(took_s)
    made = warm_up(stage, stage)
    assert not made.stable
    assert runs[0] <= made.runs <= runs[1] and seconds[0] <= made.seconds <= seconds[1]


def test_a_call_that_takes_no_time_ends_as_well():
    assert warm_up(stage := steady(0), stage).runs == 3000


def test_warm_up_is_not_counted():
    stage = Stage(lambda number, time_s: 1.0 if number < 2 else 0.01)
    made = run(stage, seconds=1)
    assert summarise(made.samples.latency_ms).max_ms == pytest.approx(10)
    assert stage.calls == made.warm_up.runs + made.calls


# Closed loop


def test_a_row_takes_its_time_and_its_samples():
    assert run(steady(10), seconds=3, samples=64).calls == 300  # the time asks for more
    assert run(steady(100), seconds=3, samples=64).calls == 64  # the samples ask for more
    assert run(steady(1000), seconds=3, samples=64).calls == 30  # ten times the time is enough
    assert run(steady(99_000), seconds=3, samples=64).calls == 1


def test_moments_and_times_are_the_calls():
    made = run(Stage(lambda number, time_s: 0.02), seconds=0.09, samples=5)
    assert made.samples.start_ms == pytest.approx((0, 20, 40, 60, 80))
    assert made.samples.latency_ms == pytest.approx([20] * 5)
    assert made.wall_s == pytest.approx(0.1)


def test_of_a_fast_call_an_even_share_is_kept():
    """0.1 ms, and 0.2 ms in the second half: what is kept covers all of it, in proportion."""
    random = np.random.default_rng(0)
    stage = Stage(lambda number, time_s: 1e-4 * random.uniform(0.9, 1.1) * (2 if time_s > 3.3 else 1))
    made = run(stage, seconds=6)
    assert made.calls > 40_000
    assert protocol.KEPT / 2 <= len(made.samples.latency_ms) == len(made.samples.start_ms) <= protocol.KEPT
    assert np.ptp(np.diff(made.samples.start_ms)[:1000]) < 0.1 * np.diff(made.samples.start_ms)[:1000].sum()
    assert made.samples.start_ms[-1] == pytest.approx(6000, abs=5)
    early = np.mean(np.asarray(made.samples.latency_ms) < 0.15)
    assert early == pytest.approx(2 / 3, abs=0.02)  # 30 000 calls of 45 000


@pytest.mark.parametrize("rules", [{"seconds": 0.2}, {"mode": "paced", "rate_hz": 50, "seconds": 0.4}])
def test_cpu_time_and_wall_time_are_the_calls_and_not_what_is_between(monkeypatch, rules):
    """Half of each call computes."""
    stage = steady(10)
    monkeypatch.setattr(protocol.time, "process_time", lambda: 0.005 * stage.calls)
    made = run(stage, samples=1, **rules)
    assert (made.calls, made.cpu_s, made.wall_s) == (20, pytest.approx(0.1), pytest.approx(0.2))


# Paced


def stalls(number, time_s, service_s=0.02, every_s=10.0, stall_s=0.3):
    """One call in every 10 s takes 300 ms longer: the first after each multiple of it."""
    return service_s + (stall_s if time_s // every_s != (time_s - 1 / 30) // every_s else 0)


def test_a_stall_shows_when_calls_are_paced_and_hides_in_a_closed_loop():
    """300 ms every 10 s, 30 calls a second: frames come whether or not anyone is ready."""
    paced = run(Stage(stalls), mode="paced", rate_hz=30, seconds=60)
    closed = run(Stage(stalls), seconds=60)
    assert summarise(paced.samples.latency_ms).p99_ms >= 250
    assert summarise(closed.samples.latency_ms).p99_ms == pytest.approx(20)
    assert summarise(paced.samples.latency_ms).p50_ms == pytest.approx(20)


def test_a_paced_latency_begins_when_the_call_was_due():
    """100 ms once, then 10 ms: due at 0, 50, 100, ..., the second starts 50 ms late."""
    warm = []
    stage = Stage(lambda number, time_s: 0.1 if number == warm[0] else 0.01)
    warm.append(warm_up(steady := Stage(lambda number, time_s: 0.01), steady).runs)
    made = run(stage, mode="paced", rate_hz=20, seconds=0.25, samples=1)
    assert made.samples.start_ms == pytest.approx((0, 50, 100, 150, 200))
    assert made.samples.latency_ms == pytest.approx((100, 60, 20, 10, 10))


def test_what_is_due_before_the_end_is_made_even_when_it_is_late():
    """A stall in the last call but nine: none of the nine that it delays is left out."""
    stage = Stage(lambda number, time_s: 0.35 if 0.66 < time_s - begin[0] < 0.69 else 0.01)
    begin = [0.3]  # after three windows of 10 ms calls
    made = run(stage, mode="paced", rate_hz=30, seconds=1, samples=1)
    assert len(made.samples.latency_ms) == 30
    assert sum(latency_ms > 50 for latency_ms in made.samples.latency_ms) == 10


def test_calls_that_waited_for_more_than_a_second_are_given_up_and_listed():
    """20 a second of 100 ms each: half can be served."""
    made = run(steady(100), mode="paced", rate_hz=20, seconds=20)
    due = len(made.samples.latency_ms) + len(made.samples.dropped_ms)
    assert due == 400 and set(made.samples.start_ms).isdisjoint(made.samples.dropped_ms)
    assert len(made.samples.dropped_ms) == pytest.approx(190, abs=5)  # a second's queue of 20 is served late
    assert max(made.samples.latency_ms) <= 1100 + 1e-6
    assert made.samples.dropped_ms[0] >= 1000
    assert not run(steady(40), mode="paced", rate_hz=20, seconds=20).samples.dropped_ms


def test_a_pace_has_its_limit_as_well():
    """99 s for a call that is due once a second."""
    made = run(steady(99_000), mode="paced", rate_hz=1, seconds=3)
    assert len(made.samples.latency_ms) == 1 and len(made.samples.dropped_ms) == 29


def test_few_calls_a_second_take_longer_than_the_minimum():
    assert len(run(steady(1), mode="paced", rate_hz=10, seconds=3).samples.latency_ms) == 64


def test_fixed_arrivals_are_even_and_poissons_are_not():
    fixed = run(steady(1), mode="paced", rate_hz=30, seconds=10)
    assert np.diff(fixed.samples.start_ms) == pytest.approx(1000 / 30, abs=1e-3)
    drawn = [run(steady(0.001), mode="paced", rate_hz=30, arrivals="poisson", seconds=100, seed=seed).samples.start_ms for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    gaps_ms = np.diff(drawn[0])
    assert len(gaps_ms) / 100 == pytest.approx(30, rel=0.06)  # three standard deviations of a count of 3000
    assert stats.kstest(gaps_ms, stats.expon(scale=1000 / 30).cdf).pvalue > 0.01


def test_an_idle_queue_at_random_arrivals_waits_as_long_as_theory_says():
    """M/D/1, half busy: Pollaczek and Khinchine give a mean wait of half a service."""
    made = run(steady(10), mode="paced", rate_hz=50, arrivals="poisson", seconds=2000, seed=3)
    assert np.mean(made.samples.latency_ms) == pytest.approx(15, rel=0.03)


@pytest.mark.parametrize("rate_hz", [None, 0.0, -30.0, math.inf, math.nan])
def test_a_pace_needs_a_rate(rate_hz):
    with pytest.raises(MmedgeError, match="rate"):
        run(steady(1), mode="paced", rate_hz=rate_hz)


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_a_row_needs_an_end(seconds):
    with pytest.raises(MmedgeError, match="no time"):
        run(steady(1), seconds=seconds)


# In turn


def test_calls_take_turns_and_change_who_is_first():
    order = []
    made = interleave([lambda name=name: order.append(name) for name in "ABC"], rounds=4)
    assert "".join(order) == "ABCCBAABCCBA"
    assert [len(times_ms) for times_ms in made] == [4, 4, 4]


def test_a_machine_that_slows_down_favours_neither():
    stage = Stage(lambda number, time_s: 0.01 + 0.001 * number)
    one, other = interleave([stage, stage], rounds=20, clock=stage)
    assert np.sum(one) == pytest.approx(np.sum(other))
    assert one[0] == pytest.approx(10) and other[0] == pytest.approx(11)


def test_rounds_end_with_the_budget_but_not_before_the_fewest():
    for ms, rounds in ((10, 100), (100, 16), (1000, 11)):
        stage = steady(ms)
        assert len(interleave([stage, stage], rounds=100, fewest=11, budget_s=3, clock=stage)[0]) == rounds


# The real clock


def test_the_real_clock_waits_and_never_goes_back():
    clock = protocol.RealClock()
    moments_s = [clock.now_s() for _ in range(1000)]
    assert all(later >= earlier for earlier, later in itertools.pairwise(moments_s))
    due_s = clock.now_s() + 0.003
    clock.sleep_until(due_s)
    assert clock.now_s() >= due_s
    clock.sleep_until(due_s - 10)
