from __future__ import annotations

import numpy as np
import pytest

from mmedge.runner import Copied
from mmedge.spans import Recording, Watched, recording, timed
from mmedge.tensors import TensorSpec


class Script:
    """A clock that moves when it is told to."""

    now_s = 0.0

    def __call__(self):
        return self.now_s


def test_a_span_inside_another_is_taken_out_of_it():
    clock = Script()
    spans = Recording(clock)
    with spans.span("outer"):
        clock.now_s += 1
        with spans.span("inner"):
            clock.now_s += 2
            with spans.span("outer"):
                clock.now_s += 4
        clock.now_s += 8
    assert spans.seconds == {"inner": 2, "outer": 13}


def test_a_span_that_fails_is_counted_and_leaves_the_others_right():
    clock = Script()
    spans = Recording(clock)

    def fail():
        with spans.span("inner"):
            clock.now_s += 1
            raise KeyError

    with spans.span("outer"):
        with pytest.raises(KeyError):
            fail()
        clock.now_s += 2
    assert spans.seconds == {"inner": 1, "outer": 2}


def test_a_marked_function_is_recorded_only_while_somebody_listens():
    @timed("adding")
    def add(a, b=1):
        """Adds."""
        return a + b

    assert (add(1), add.__doc__) == (2, "Adds.")
    with recording() as spans:
        assert add(2, b=3) == 5
    assert add(1) == 2
    assert list(spans.seconds) == ["adding"]


class Doubling:
    inputs = (TensorSpec("x", "float32", (2,)),)
    outputs = (TensorSpec("y", "float32", (2,)),)
    reuses_outputs = False

    def run(self, feeds):
        return {"y": feeds["x"] * 2}

    def carry(self, pairs, start):
        return Copied(self, pairs, start)


def test_the_runs_of_a_watched_runner_are_spans_carried_ones_too():
    runner = Watched("graph double", Doubling())
    assert (runner.inputs, runner.outputs) == (Doubling.inputs, Doubling.outputs)
    with recording() as spans:
        assert runner.run({"x": np.ones(2, np.float32)})["y"].tolist() == [2, 2]
    assert list(spans.seconds) == ["graph double"]
    with recording() as spans:
        carried = runner.carry({"y": "x"}, {"x": np.ones(2, np.float32)})
        before_s = spans.seconds["graph double"]
        assert carried.run({}) == {}
    assert spans.seconds["graph double"] > before_s
