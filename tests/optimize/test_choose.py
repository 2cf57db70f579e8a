from __future__ import annotations

import time

import numpy as np
import pytest

from mmedge import runner
from mmedge.errors import MmedgeError
from mmedge.optimize import choose as module
from mmedge.runner import Candidate, Engine, Graph
from mmedge.target import Target

REFERENCE = {"y": np.ones(4, np.float32)}
TARGET = Target(name="test", summary="", backends=("fake",), max_opset=18, max_ir=10)


class Fake:
    """A backend whose candidates take the time and make the error that their options say."""

    inputs = outputs = ()
    reuses_outputs = False

    def compile(self, candidate, target, out):
        if candidate.options.get("refuse"):
            raise MmedgeError("operator Foo is not supported", "use another backend")
        return Engine(candidate)

    def open(self, engine, target):
        opened = Fake()
        opened.options = engine.candidate.options
        return opened

    def run(self, feeds):
        time.sleep(self.options.get("ms", 1) / 1e3)
        return {"y": REFERENCE["y"] + np.float32(self.options.get("error", 0))}

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        pass


@pytest.fixture
def pick(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "load_backend", lambda name: Fake())
    monkeypatch.setattr(runner, "load_backend", lambda name: Fake())
    graph = Graph(tmp_path, "", (), ())

    def pick(*candidates):
        made = [("fake", Candidate(graph, precision, options)) for precision, options in candidates]
        winner, trials = module.choose(made, {}, REFERENCE, TARGET, tmp_path)
        return winner and (winner[1].candidate.precision, winner[1].candidate.options), trials

    return pick


def test_the_fastest_within_its_bound_wins(pick):
    winner, trials = pick(("fp32", {"ms": 6}), ("bf16", {"ms": 2, "error": 5e-3}), ("fp16", {"ms": 1, "error": 2e-2}))
    assert winner[0] == "bf16"
    assert {trial.precision: trial.passed for trial in trials} == {"fp32": True, "bf16": True, "fp16": False}
    assert next(trial for trial in trials if trial.precision == "fp16").median_ms is None


def test_a_tie_goes_to_the_order_of_preference(pick):
    assert pick(("fp32", {"ms": 5, "first": True}), ("fp32", {"ms": 5}))[0][1] == {"ms": 5, "first": True}


def test_a_refusal_is_recorded_in_the_runtimes_words(pick):
    winner, trials = pick(("fp16", {"refuse": True}), ("fp32", {}))
    assert winner[0] == "fp32"
    assert [trial.note for trial in trials if not trial.passed] == ["operator Foo is not supported"]


def test_nothing_wins_when_nothing_is_right(pick):
    assert pick(("fp32", {"error": 1e-3}), ("fp32", {"error": float("nan")}))[0] is None


def test_rounds_are_bounded_by_the_budget_and_few_when_there_is_no_choice(pick, monkeypatch):
    monkeypatch.setattr(module, "BUDGET_S", 0)
    _, trials = pick(("fp32", {"ms": 1}), ("bf16", {"ms": 1}))
    assert [trial.rounds for trial in trials] == [module.MIN_ROUNDS] * 2
    assert pick(("fp32", {"ms": 1}))[1][0].rounds == module.ALONE_ROUNDS


def test_a_lucky_median_is_not_enough():
    """Faster by half in the median, but only in six rounds of ten."""
    earlier, later = [10.0] * 10, [5.0] * 6 + [11.0] * 4
    assert not module._clearly_faster(later, earlier)
    assert module._clearly_faster([5.0] * 8 + [11.0] * 2, earlier)
