"""The order of a graph's candidates, the reasons that are given, and what a budget leaves."""

from __future__ import annotations

import pytest

from mmedge.errors import MmedgeError
from mmedge.optimize.choice import alternatives, choice, unmeasured
from mmedge.rated import Budget, Interval, Loss, Rated

NO_LIMIT = Budget()


def rated(name, metric=0.8, share=1.0, mb=100.0, *, spread=0.01, memory_mb=100.0, **others):
    """``share``: of fp32's 10 ms; None where it was not timed."""
    backend, _, precision = name.partition(" ")
    ratio = None if share is None else Interval(value=share, low=share - spread, high=share + spread, n=20)
    if name == "ort fp32":
        ratio = Interval(value=1.0, low=1.0, high=1.0, n=11)
    figures = {"metric": Interval(value=metric, low=metric - 0.1, high=metric + 0.1, n=50), "ratio": ratio, "size_mb": mb, "memory_mb": memory_mb}
    known = precision if precision in ("fp32", "bf16") else "int8"
    return Rated(**{"name": name, "backend": backend, "precision": known, "passed": True, "latency_ms": share and share * 10.0, **figures, **others})


FP32 = rated("ort fp32")
STATIC = rated("ort static", 0.796, 0.4, 26.0)
WEIGHTS = rated("ort weights", 0.799, 0.6, 20.0)
SLOW = rated("far fp32", 0.8, 1.3)
FAILED = Rated(name="ort dynamic", backend="ort", precision="int8", passed=False, note="2 points lost")
ALL = [FP32, SLOW, STATIC, WEIGHTS, FAILED]


def names(found):
    return [one.name for one in found.rated]


def test_the_first_is_chosen_and_the_failed_come_last():
    found = choice(ALL, "latency", NO_LIMIT, True)
    assert (found.chosen, names(found)) == ("ort static", ["ort static", "ort weights", "ort fp32", "far fp32", "ort dynamic"])
    assert found.why == "the fastest that holds: 0.40 times ort fp32 (0.39 to 0.41), 26.0 of 100.0 MB"


def test_the_goal_changes_the_order():
    assert names(choice(ALL, "size", NO_LIMIT, True))[:2] == ["ort weights", "ort static"]


def test_what_is_not_surely_faster_does_not_take_fp32s_place():
    """Faster by a tenth, with an interval that reaches beyond 1."""
    unsure = rated("ort static", 0.81, 0.9, 26.0, spread=0.2)
    found = choice([FP32, unsure], "latency", NO_LIMIT, True)
    assert (found.chosen, found.why) == ("ort fp32", "no other that holds is surely faster")
    assert choice([FP32, unsure], "size", NO_LIMIT, True).chosen == "ort static"


def test_of_nearly_equal_ones_the_more_accurate_is_taken():
    assert choice([FP32, STATIC, rated("ort other", 0.799, 0.41, 26.0)], "latency", NO_LIMIT, True).chosen == "ort other"


def loss(word, lost=0.004):
    return Loss(metric="accuracy", found=Interval(value=lost, low=lost - 0.003, high=lost + 0.003, n=90), allowed=0.01, word=word)


def test_what_surely_holds_goes_before_what_the_data_do_not_decide():
    """Though the other is a little faster and more accurate; not where it is clearly faster."""
    kept, unsure = rated("ort kept", 0.796, 0.41, loss=loss("kept")), rated("ort unsure", 0.799, 0.4, loss=loss("undecided"))
    found = choice([FP32, unsure, kept], "latency", NO_LIMIT, True)
    assert (found.chosen, found.why[:50]) == ("ort kept", "the most accurate of the fastest that surely hold:")
    faster = rated("ort unsure", 0.799, 0.3, loss=loss("undecided"))
    found = choice([FP32, faster, kept], "latency", NO_LIMIT, True)
    assert (found.chosen, found.why) == ("ort unsure", "the fastest that holds: 0.30 times ort fp32 (0.29 to 0.31), 100.0 of 100.0 MB, undecided by 90 units")


def test_what_the_noise_does_not_tell_apart_counts_as_nearly_equal():
    """0.30 to 0.50 against 0.45 to 0.65: a tenth and more in the middle, and nobody knows."""
    static, other = rated("ort static", 0.796, 0.4, 26.0, spread=0.1), rated("ort other", 0.799, 0.55, 26.0, spread=0.1)
    assert choice([FP32, static, other], "latency", NO_LIMIT, True).chosen == "ort other"
    assert choice([FP32, STATIC, other], "latency", NO_LIMIT, True).chosen == "ort static"


def test_a_metric_that_is_better_when_lower():
    assert choice([FP32, STATIC, rated("ort other", 0.790, 0.41, 26.0)], "latency", NO_LIMIT, False).chosen == "ort other"
    assert choice([FP32, STATIC, WEIGHTS], "latency", Budget(min_metric=0.797), False).chosen == "ort static"
    assert choice([FP32, STATIC, WEIGHTS], "latency", Budget(min_metric=0.797), True).chosen == "ort weights"


def test_slower_than_fp32_is_said_wherever_it_stands():
    small = rated("ort weights", 0.8, 1.2, 20.0, note="weights of 4 bits")
    found = choice([FP32, SLOW, small], "size", NO_LIMIT, True)
    assert found.chosen == "ort weights"
    assert "slower than fp32" in found.why
    assert {one.name: one.note for one in found.rated} == {"ort weights": "weights of 4 bits; slower than fp32", "far fp32": "slower than fp32", "ort fp32": ""}
    here = [
        one.model_copy(update={"ratio": Interval(value=0.5, low=0.5, high=0.5, n=9), "latency_ms": 5.0}) if one.name != "ort fp32" else one
        for one in found.rated
    ]
    assert {one.name: one.note for one in choice(here, "size", NO_LIMIT, True).rated} == {"ort weights": "weights of 4 bits", "far fp32": "", "ort fp32": ""}


def test_the_pareto_set_is_marked():
    beaten = rated("ort beaten", 0.79, 0.5, 30.0)
    found = choice([*ALL, beaten], "latency", NO_LIMIT, True)
    assert {one.name for one in found.rated if one.pareto} == {"ort static", "ort weights", "ort fp32"}


def test_memory_differs_only_by_whole_megabytes():
    twin = rated("ort twin", 0.796, 0.4, 26.0, memory_mb=99.8)
    assert all(one.pareto for one in choice([FP32, STATIC, twin], "latency", NO_LIMIT, True).rated[:2])


def test_memory_that_could_not_be_read_beats_nothing():
    unread = rated("ort unread", 0.796, 0.4, 26.0, memory_mb=None)
    assert [one.name for one in choice([FP32, STATIC, unread], "latency", NO_LIMIT, True).rated if one.pareto] == ["ort static", "ort fp32"]


def test_what_keeps_the_budget_comes_first():
    found = choice(ALL, "size", Budget(max_latency_ms=5), True)
    assert (names(found)[:2], found.why.startswith("the smallest that holds within --max-latency-ms 5: ")) == (["ort static", "ort weights"], True)


def test_a_budget_takes_what_is_not_surely_faster_where_nothing_else_keeps_it():
    unsure = rated("ort static", 0.8, 0.99, 26.0, spread=0.2)
    assert choice([FP32, unsure], "latency", Budget(max_latency_ms=9.95), True).chosen == "ort static"


def test_a_budget_that_none_keeps_is_refused_with_the_nearest():
    with pytest.raises(MmedgeError, match="no candidate keeps the budget") as caught:
        choice(ALL, "latency", Budget(max_latency_ms=1), True)
    assert "ort static 4 ms a run of at most 1" in caught.value.what
    assert "ort static" in caught.value.fix


def test_without_a_timed_fp32_there_is_nothing_to_compare_with():
    refused = FP32.model_copy(update={"passed": False, "ratio": None, "latency_ms": None, "note": "out of memory"})
    with pytest.raises(MmedgeError, match="no candidate in fp32 could be timed: ort fp32: out of memory"):
        choice([refused, STATIC], "latency", NO_LIMIT, True)


def test_alternatives_are_those_after_it_within_the_budget():
    found = choice(ALL, "latency", NO_LIMIT, True)
    assert alternatives(found, NO_LIMIT, True) == ["ort weights", "ort fp32", "far fp32"]
    assert alternatives(found, Budget(max_latency_ms=9), True) == ["ort weights"]
    assert alternatives(found.model_copy(update={"chosen": "ort fp32"}), NO_LIMIT, True) == []


def test_nothing_is_chosen_where_nothing_is_timed():
    untimed = [one.model_copy(update={"ratio": None, "latency_ms": None, "memory_mb": None}) for one in (FP32, STATIC)]
    found = unmeasured([*untimed, FAILED], "tensorrt fp16", "on the board")
    assert (found.chosen, names(found)) == ("ort fp32", ["ort fp32", "ort static", "ort dynamic"])
    assert found.why == "nothing is timed here: on the board"
    assert not any(one.pareto for one in found.rated)
    assert unmeasured(untimed, "ort static", "there").chosen == "ort static"


def test_why_says_whether_another_is_faster_but_less_accurate():
    other = rated("ort other", 0.799, 0.41, 26.0)
    assert choice([FP32, STATIC, other], "latency", NO_LIMIT, True).why.startswith("the most accurate of the fastest that hold: 0.41 times")
    assert choice([FP32, other], "latency", NO_LIMIT, True).why.startswith("the fastest that holds: 0.41 times")
