"""Losses that each hold alone may add up: the model as a whole is judged, and goes back candidate by candidate."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mmedge.errors import GateFailed, MmedgeError
from mmedge.evaluate.metrics.bootstrap import Estimate, Metric
from mmedge.optimize import whole as module
from mmedge.optimize.choice import choice
from mmedge.optimize.gate import Judged
from mmedge.optimize.survivors import Survivor
from mmedge.rated import Budget, Interval, Loss, Rated
from mmedge.runner import Candidate, Graph

NO_LIMIT = Budget()
LOSES = {"ort static": 0.008, "ort weights": 0.003, "ort fp32": 0.0}
SHARES = {"ort static": 0.4, "ort weights": 0.6, "ort fp32": 1.0}


def rated(name, loses, size_mb=9.0):
    found = Interval(value=loses, low=loses, high=loses, n=50)
    metric, ratio = Interval(value=0.8 - loses, low=0.7, high=0.9, n=50), Interval(value=SHARES[name], low=SHARES[name], high=SHARES[name], n=11)
    loss = Loss(metric="accuracy", found=found, allowed=0.01, word="kept")
    precision = "fp32" if "fp32" in name else "int8"
    return Rated(name=name, backend="ort", precision=precision, passed=True, metric=metric, loss=loss, ratio=ratio, latency_ms=SHARES[name], size_mb=size_mb)


@pytest.fixture
def held(monkeypatch, tmp_path):
    """Graph -> what its candidates lose alone; the whole loses ``together`` times the sum. Returns what was chosen, and how often the whole was judged."""

    def held(budget=NO_LIMIT, together=1.0, fp32_loses=0.0, mb=None, **graphs):
        asked, said = [], []

        def lost(chosen):
            return together * sum(graphs[key][candidate.graph.sha256] for key, (_, candidate) in chosen.items()) + fp32_loses

        def metric(work, chosen):
            return Metric("accuracy", Estimate(0.8 - lost(chosen), 0.7, 0.9, 50))

        def judged(work, chosen):
            asked.append({key: candidate.graph.sha256 for key, (_, candidate) in chosen.items()})
            loss = lost(chosen)
            return Judged("lost" if loss > 0.01 else "kept", "accuracy", Estimate(loss, loss, loss, 50), 0.01)

        monkeypatch.setattr(module, "judging", SimpleNamespace(metric=metric, judged=judged))
        found = {key: [rated(name, loses, mb[key][name] if mb else 9.0) for name, loses in of.items()] for key, of in graphs.items()}
        survivors = {key: [Survivor(one, "ort", Candidate(Graph(tmp_path, one.name, (), ()), one.precision), None) for one in of] for key, of in found.items()}
        choices = {key: choice(of, "latency", budget, True) for key, of in found.items()}
        work = SimpleNamespace(role="eyes", report=said.append, bundle=SimpleNamespace(path=tmp_path))
        made = module.hold(work, choices, survivors, "latency", budget)
        return {key: one.chosen for key, one in made.choices.items()}, made, asked

    return held


def test_what_holds_is_judged_once(held):
    chosen, made, asked = held(image=LOSES)
    assert (chosen, len(asked)) == ({"image": "ort static"}, 1)
    assert made.judged.word == "kept"


def test_the_graph_that_loses_most_takes_its_next(held):
    """0.008 and 0.006 are too much together; 0.003 and 0.006 are not."""
    chosen, made, asked = held(image=LOSES, text={**LOSES, "ort static": 0.006})
    assert chosen == {"image": "ort weights", "text": "ort static"}
    assert asked == [{"image": "ort static", "text": "ort static"}, {"image": "ort weights", "text": "ort static"}]
    assert made.choices["image"].why.startswith("the next after ort static, with which the model as a whole does not hold: accuracy: +1.40 points lost")
    assert [(one.name, one.demoted) for one in made.choices["image"].rated] == [("ort static", True), ("ort weights", False), ("ort fp32", False)]
    assert [one.name for one in made.choices["image"].valid(())] == ["ort weights", "ort fp32"]


def test_it_goes_back_to_fp32_at_last(held):
    assert held(together=100.0, image=LOSES, text=LOSES)[0] == {"image": "ort fp32", "text": "ort fp32"}


def test_a_limit_on_the_metric_is_the_whole_models_too(held):
    """Each keeps 0.793 alone; together they give 0.790, and one with the other's next 0.792."""
    graphs = {"image": {**LOSES, "ort static": 0.005}, "text": {**LOSES, "ort static": 0.005}}
    assert held(**graphs)[0] == {"image": "ort static", "text": "ort static"}
    chosen, made, asked = held(Budget(min_metric=0.793), **graphs)
    assert (chosen, len(asked)) == ({"image": "ort weights", "text": "ort weights"}, 3)
    assert made.metric.estimate.value == pytest.approx(0.794)


def test_a_budget_that_nothing_keeps_as_a_whole_is_refused(held):
    few = {name: LOSES[name] for name in ("ort static", "ort fp32")}
    with pytest.raises(MmedgeError, match="nothing that keeps the budget holds for eyes as a whole") as caught:
        held(Budget(max_latency_ms=0.5), together=2.0, image=few)
    assert caught.value.status == 2


def test_room_for_what_holds_is_made_by_the_other_graph(held):
    """The image's static loses .012, and its next takes so much that the text must take less than it would."""
    mb = {"image": {"ort static": 9.0, "ort weights": 14.0, "ort fp32": 36.0}, "text": {"ort static": 9.0, "ort weights": 5.0, "ort fp32": 36.0}}
    graphs = {"image": {**LOSES, "ort static": 0.012}, "text": {**LOSES, "ort static": 0.005}}
    assert held(mb=mb, **graphs)[0] == {"image": "ort weights", "text": "ort static"}
    chosen, _, asked = held(Budget(max_mb=20), mb=mb, **graphs)
    assert (chosen, len(asked)) == ({"image": "ort weights", "text": "ort weights"}, 2)
    with pytest.raises(MmedgeError, match="nothing that keeps the budget holds for eyes as a whole"):
        held(Budget(max_mb=18), mb=mb, **graphs)


def test_fp32_that_does_not_hold_is_a_failed_gate(held):
    with pytest.raises(GateFailed, match="eyes does not hold its gate in fp32 with image by ort fp32"):
        held(fp32_loses=0.02, image=LOSES)
