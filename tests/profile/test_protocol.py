from __future__ import annotations

import numpy as np
import pytest

from mmedge.profile import protocol


def test_percentiles_are_numpys_and_withheld_below_64():
    samples = list(np.random.default_rng(0).gamma(2, 5, 64))
    made = protocol.summarise(samples)
    assert made.p50_ms == pytest.approx(np.percentile(samples, 50), abs=1e-3)
    assert made.p90_ms == pytest.approx(np.percentile(samples, 90), abs=1e-3)
    assert protocol.summarise(samples[:63]).p90_ms is None
    assert protocol.summarise([5.0]).p50_ms == 5.0


class Clock:
    """A call takes as long as the script says; the first three are cold."""

    def __init__(self, cold_s, warm_s):
        self.now_s, self.calls, self.cold_s, self.warm_s = 0.0, 0, cold_s, warm_s

    def perf_counter(self):
        return self.now_s

    def call(self):
        self.now_s += self.cold_s if self.calls < protocol.WARM_UP_RUNS else self.warm_s
        self.calls += 1


def test_cold_runs_are_not_counted(monkeypatch):
    clock = Clock(cold_s=1.0, warm_s=0.01)
    monkeypatch.setattr(protocol, "time", clock)
    made = protocol.measure(clock.call)
    assert (made.n, made.p50_ms, made.max_ms) == (protocol.ENOUGH, pytest.approx(10), pytest.approx(10))


def test_a_slow_call_is_measured_as_often_as_the_time_allows(monkeypatch):
    clock = Clock(cold_s=1.0, warm_s=1.0)
    monkeypatch.setattr(protocol, "time", clock)
    assert protocol.measure(clock.call).n == protocol.BUDGET_S
    clock = Clock(cold_s=1.0, warm_s=100.0)
    monkeypatch.setattr(protocol, "time", clock)
    assert protocol.measure(clock.call).n == protocol.FEWEST
