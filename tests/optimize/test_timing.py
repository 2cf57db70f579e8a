"""Candidates are timed in pairs with the fastest fp32, on a clock of the test's own; memory is read in a real process."""

from __future__ import annotations

import contextlib
import itertools
from functools import partial

import numpy as np
import pytest
from small_quantized import attends, feeds_for

from mmedge.errors import MmedgeError
from mmedge.optimize import growth, timing
from mmedge.optimize.survivors import Survivor
from mmedge.optimize.timing import Bench, base_of, measured
from mmedge.rated import Rated
from mmedge.runner import Candidate, Graph
from mmedge.target import Target

TARGET = Target(name="test", summary="", backends=("near", "far"), max_opset=18, max_ir=10)
FEEDS = {"x": np.ones(3, np.float32)}


class Machine:
    """Runners that take the time that their candidates say, on a clock that only they move."""

    def __init__(self):
        self.time_s, self.runs, self.open, self.most_open, self.refuses, self.grown = 0.0, 0, 0, 0, set(), []

    def now_s(self):
        return self.time_s

    def sleep_until(self, time_s):
        self.time_s = max(self.time_s, time_s)

    @contextlib.contextmanager
    def opened(self, backend, candidate, target):
        if backend in self.refuses:
            raise MmedgeError("operator Foo is not supported", "use another backend")
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        times_ms = itertools.cycle(candidate.options["ms"])
        yield Runner(self, times_ms)
        self.open -= 1

    def memory_mb(self, backend, candidate, target, feeds, scratch):
        self.grown.append(candidate.options["ms"])
        return 40.0


class Runner:
    def __init__(self, machine, times_ms):
        self.machine, self.times_ms = machine, times_ms

    def run(self, feeds):
        self.machine.runs += 1
        self.machine.time_s += next(self.times_ms) / 1e3
        return {}


@pytest.fixture
def here(monkeypatch, tmp_path):
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))
    made = Machine()
    monkeypatch.setattr(timing, "opened", made.opened)
    monkeypatch.setattr(timing, "memory_mb", made.memory_mb)
    monkeypatch.setattr(timing, "runs_here", lambda backend, target: backend != "absent")
    monkeypatch.setattr(timing, "identity", lambda backend, candidate, target: {"backend": backend, "options": str(candidate.options)})
    return made


def survivor(tmp_path, name, *times_ms):
    backend, _, precision = name.partition(" ")
    rated = Rated(name=name, backend=backend, precision="fp32" if precision == "fp32" else "int8", passed=True)
    return Survivor(rated, backend, Candidate(Graph(tmp_path, name, (), ()), rated.precision, {"ms": times_ms}), None)


@pytest.fixture
def rate(here, tmp_path):
    """Name -> milliseconds of its runs, in turn; returns what was rated by name."""

    def rate(feeds=FEEDS, asked="", **times_ms):
        survivors = [survivor(tmp_path, name.replace("_", " "), *times) for name, times in times_ms.items()]
        return {one.name: one for one in measured(survivors, Bench(TARGET, feeds, lambda line: None, here, asked))}

    return rate


def test_all_ratios_are_to_the_fastest_fp32(rate):
    found = rate(near_fp32=[10], far_fp32=[6], near_int8=[3], far_int8=[12])
    assert base_of(list(found.values())) == found["far fp32"]
    assert {name: round(one.ratio.value, 3) for name, one in found.items()} == {"near fp32": 1.667, "far fp32": 1.0, "near int8": 0.5, "far int8": 2.0}
    assert {name: round(one.latency_ms, 3) for name, one in found.items()} == {"near fp32": 10.0, "far fp32": 6.0, "near int8": 3.0, "far int8": 12.0}
    assert all(one.ratio.low <= one.ratio.value <= one.ratio.high and one.memory_mb == 40.0 for one in found.values())


def test_a_later_fp32_must_be_clearly_faster(rate):
    assert base_of(list(rate(near_fp32=[10], far_fp32=[9.8]).values())).name == "near fp32"


def test_never_more_than_two_are_open(rate, here):
    rate(near_fp32=[10], far_fp32=[6], near_int8=[3], far_int8=[12])
    assert (here.open, here.most_open) == (0, 2)


def test_rounds_go_on_until_the_interval_is_narrow(rate):
    steady = rate(near_fp32=[10], near_int8=[5])["near int8"].ratio
    noisy = rate(near_fp32=[10, 9, 11, 10.5, 9.2], near_int8=[5, 5.4, 4.6])["near int8"].ratio
    assert steady.n == timing.FEWEST < noisy.n
    assert noisy.high - noisy.low <= timing.NARROW * noisy.value


def test_and_no_longer_than_the_budget(rate, here):
    wild = rate(near_fp32=[100, 300, 50], near_int8=[90, 20, 400, 70])["near int8"].ratio
    assert wild.high - wild.low > timing.NARROW * wild.value
    alone_s, warm_s = timing.FEWEST * 0.3, 2 * (timing.WARM_S + 1.5)
    assert timing.BUDGET_S < here.time_s < timing.BUDGET_S + alone_s + warm_s + 1.0


def test_a_refusal_is_told_in_the_runtimes_words(rate, here):
    here.refuses.add("far")
    found = rate(near_fp32=[10], far_fp32=[6], far_int8=[1])
    assert base_of(list(found.values())).name == "near fp32"
    assert (found["far int8"].passed, found["far int8"].note, found["far int8"].ratio) == (False, "operator Foo is not supported", None)


def test_what_cannot_run_here_is_not_timed(rate):
    found = rate(near_fp32=[10], absent_int8=[1])["absent int8"]
    assert (found.passed, found.ratio, found.latency_ms, found.memory_mb) == (True, None, None, None)


def test_memory_that_cannot_be_read_is_said(rate, monkeypatch):
    def killed(*unused):
        raise MmedgeError("a process that opened it was ended by SIGKILL", "close other programs")

    monkeypatch.setattr(timing, "memory_mb", killed)
    found = rate(near_fp32=[10], near_int8=[5])["near int8"]
    assert (found.passed, found.latency_ms, found.memory_mb, found.note) == (True, 5.0, None, "a process that opened it was ended by SIGKILL")


def test_everything_is_measured_once(rate, here):
    first = rate(near_fp32=[10], far_fp32=[6], near_int8=[3])
    runs, grown = here.runs, len(here.grown)
    assert rate(near_fp32=[10], far_fp32=[6], near_int8=[3]) == first
    assert (here.runs, len(here.grown)) == (runs, grown)


def test_one_new_candidate_costs_its_own_rounds_alone(rate, here):
    rate(near_fp32=[10], near_int8=[3])
    runs = here.runs
    rate(near_fp32=[10], near_int8=[3], near_int4=[4])
    assert here.grown == [(10,), (3,), (4,)]
    assert 0 < here.runs - runs < runs


@pytest.mark.parametrize("changed", ["feeds", "machine", "asked"])
def test_a_measurement_is_bound_to_what_it_rests_on(changed, rate, here, monkeypatch):
    rate(near_fp32=[10])
    runs, facts = here.runs, timing.machine()
    if changed == "machine":
        monkeypatch.setattr(timing, "machine", lambda: facts.model_copy(update={"governor": "powersave", "load": 3.0}))
    again = "another day" if changed == "asked" else ""
    rate(feeds={"x": np.zeros(3, np.float32)} if changed == "feeds" else FEEDS, asked=again, near_fp32=[10])
    assert here.runs > runs


def test_a_busy_machine_is_the_same_machine(rate, here, monkeypatch):
    rate(near_fp32=[10])
    runs, facts = here.runs, timing.machine()
    monkeypatch.setattr(timing, "machine", lambda: facts.model_copy(update={"load": 7.0}))
    rate(near_fp32=[10])
    assert here.runs == runs


@pytest.mark.parametrize("mb", [40, 96])
def test_a_process_grows_by_its_weights(mb, tmp_path, monkeypatch):
    """What a runner holds on to is what is found, not what the runtime's import takes."""
    held = []

    class Holding:
        def run(self, feeds):
            held.append(np.ones(mb << 17) if not held else None)
            return {}

    @contextlib.contextmanager
    def opened(backend, candidate, target):
        yield Holding()

    graph = attends(tmp_path)
    asked = {}
    monkeypatch.setattr(growth, "run_module", lambda module, arguments, doing: asked.update(path=arguments[0]))
    growth.memory_mb("ort", Candidate(graph, "fp32"), Target.load("cpu"), feeds_for("attends", 1)[0], tmp_path)
    monkeypatch.setattr(growth, "opened", opened)
    found = growth.growth(growth.read_json(tmp_path / "asked.json", growth.Asked, fix=""))
    assert mb * 0.9 < found < mb + 8


def test_memory_is_read_in_a_process_of_its_own(tmp_path):
    graph = attends(tmp_path)
    find = partial(growth.memory_mb, target=Target.load("cpu"), feeds=feeds_for("attends", 1)[0], scratch=tmp_path)
    assert 0.5 < find("ort", Candidate(graph, "fp32")) < 60
    graph.path.write_bytes(b"no ONNX")
    with pytest.raises(MmedgeError, match=r"cannot load attends\.onnx"):
        find("ort", Candidate(graph, "fp32"))
