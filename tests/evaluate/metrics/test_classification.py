"""Against scikit-learn 1.9.1 (figures of make_references.py) and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from mmedge.evaluate.metrics.bootstrap import paired
from mmedge.evaluate.metrics.classification import classification


@pytest.mark.parametrize("case", range(3))
def test_every_figure_is_scikit_learns(references, case):
    known = references["classification"]["cases"][case]
    found = classification(known["predicted"], known["expected"], known["classes"], np.array(known["scores"]))
    assert {metric.name: metric.estimate.value for metric in found.metrics} == pytest.approx(known["figures"], abs=1e-12)
    for figures in found.classes:
        precision, recall, f1, support = known["single"][figures.label]
        assert figures.support == support
        for metric, value in ((figures.precision, precision), (figures.recall, recall), (figures.f1, f1)):
            assert metric.estimate is None if value is None else metric.estimate.value == pytest.approx(value)


def test_a_resample_is_what_a_classification_of_its_samples_gives():
    draw = np.random.default_rng(0)
    expected, predicted, scores = draw.choice(["a", "b", "c"], 40), draw.choice(["a", "b", "c"], 40), np.round(draw.random((40, 3)), 1)
    whole = classification(predicted, expected, ["a", "b", "c"], scores)
    drawn = draw.integers(0, 40, 40)
    again = classification(predicted[drawn], expected[drawn], ["a", "b", "c"], scores[drawn])
    weights = np.bincount(drawn, minlength=40).astype(np.float64)[None]
    for one, other in zip(whole.metrics, again.metrics):
        assert one.samples.reduce(weights, one.samples.rows)[0] == pytest.approx(other.estimate.value), one.name


def test_a_class_that_never_appears_is_named():
    found = classification(["a", "b", "a"], ["a", "a", "a"], ["a", "b", "gone"], np.array([[0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.6, 0.2, 0.2]]))
    figures = {one.label: one for one in found.classes}
    assert [(one.support, one.predicted) for one in found.classes] == [(3, 2), (0, 1), (0, 0)]
    assert figures["b"].recall.why == "no sample is of b" and figures["b"].precision.estimate.value == 0
    assert figures["gone"].precision.why == "nothing was taken for gone" and figures["gone"].f1.why == "gone never appears"
    assert figures["a"].roc_auc.why == "every sample is of a"
    averaged = next(metric for metric in found.metrics if metric.name == "recall_macro")
    assert averaged.estimate.value == 1 / 2 / 1.5  # a: 2/3, b: 0; gone does not count
    assert averaged.how == "zero_division=0; no sample is of: b, gone"
    assert found.metrics[-1].estimate is None and found.metrics[-1].why == "fewer than two classes have samples"


def test_a_class_without_scores_and_scores_that_are_missing_or_not_finite():
    for scores, why in (
        (None, "not computed: the model gives no scores of classes"),
        (np.array([[0.1, 0.9], [np.nan, 0.2]]), "not computed: some scores are not finite"),
    ):
        assert classification(["a", "b"], ["a", "b"], ["a", "b"], scores).metrics[-1].why == why
    other = classification(["a", "b"], ["a", "other"], ["a", "b"], np.array([[0.1, 0.9], [0.3, 0.2]]))
    assert other.classes[-1].label == "other" and other.classes[-1].roc_auc.why == "not computed: the model gives no score for other"
    with pytest.raises(ValueError, match="samples and 2 classes"):
        classification(["a"], ["a"], ["a", "b"], np.zeros((1, 3)))


def test_the_area_counts_ties_half():
    draw = np.random.default_rng(5)
    positive, scores = draw.random(80) < 0.3, draw.integers(0, 6, 80).astype(float)
    labels = np.where(positive, "yes", "no")
    found = classification(labels, labels, ["no", "yes"], np.stack([0 * scores, scores], axis=1)).metrics[-1]
    assert found.estimate.value == pytest.approx(mannwhitneyu(scores[positive], scores[~positive]).statistic / (positive.sum() * (~positive).sum()))
    assert found.how == "positive class: yes"


def test_two_models_are_compared_over_the_same_samples():
    expected = ["a", "b"] * 50
    good, bad = (classification(["a", *expected[1:-wrong], *["a"] * wrong], expected).metrics[0] for wrong in (2, 20))
    assert paired(good, bad).value == pytest.approx(0.09) and paired(good, bad).low > 0.03


def test_no_samples():
    found = classification([], [], ["a", "b"], np.empty((0, 2)))
    assert {metric.why for metric in found.metrics[:-1]} == {"there are no samples"} and all(metric.estimate is None for metric in found.metrics)
