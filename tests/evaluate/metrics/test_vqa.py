"""Against vqaEval.py of github.com/GT-Vision-Lab/VQA (figures of make_references.py)."""

from __future__ import annotations

import pytest

from mmedge.evaluate.metrics.vqa import accuracy, vqa


def test_every_question_scores_as_in_the_official_script(references):
    known = references["vqa"]
    found = [accuracy(answer, answers) for answer, answers in known["questions"]]
    assert len(found) > 300 and 0.2 < sum(found) / len(found) < 0.9
    wrong = [(question, ours, theirs) for question, ours, theirs in zip(known["questions"], found, known["accuracy"]) if ours != pytest.approx(theirs)]
    assert wrong == []


def test_the_mean_over_questions_with_its_interval(references):
    known = references["vqa"]
    official, exact = vqa(*zip(*known["questions"]))
    assert official.estimate.value == pytest.approx(sum(known["accuracy"]) / len(known["accuracy"]))
    assert official.estimate.low < official.estimate.value < official.estimate.high and official.estimate.n == len(known["accuracy"])
    assert official.estimate.value <= exact.estimate.value


def test_what_the_script_gets_wrong_is_kept():
    assert accuracy("Yes", ["yes"] * 10) == 0  # nothing is normalised where all agree
    assert accuracy("Yes", ["yes"] * 9 + ["no"]) == 1
    assert accuracy("somebody'd", ["somebodyd"] * 9 + ["no"]) == 1
    assert accuracy("two", ["two"] * 3 + ["three"] * 7) == pytest.approx((3 * 2 / 3 + 7) / 10)  # leave one out


def test_few_answers_have_an_exact_match_only():
    official, exact = vqa(["The Cat.", "2", "red"], [["cat"], ["two"], ["blue", "green"]])
    assert official.estimate is None and official.why == "not computed: 3 of 3 questions have fewer than 4 answers"
    assert exact.estimate.value == pytest.approx(2 / 3)
    assert [metric.why for metric in vqa([], [])] == ["there are no samples"] * 2
