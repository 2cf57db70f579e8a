"""Against scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from mmedge.evaluate.metrics.agreement import cosine, rank_correlation, top1_agreement


def test_rank_correlation_is_scipys_with_and_without_ties():
    draw = np.random.default_rng(0)
    for ours in (draw.normal(size=(20, 9)), draw.integers(0, 4, (20, 9)).astype(float)):
        fp32 = ours + draw.integers(0, 3, ours.shape)
        theirs = [spearmanr(a, b).statistic for a, b in zip(ours, fp32)]
        assert rank_correlation(ours, fp32).estimate.value == pytest.approx(np.mean(theirs))


def test_rank_correlation_of_reversed_and_of_equal_scores():
    scores = np.arange(5.0)[None]
    assert rank_correlation(-scores, scores).estimate.value == pytest.approx(-1)
    part = rank_correlation(np.array([[1.0, 2, 3], [7, 7, 7]]), np.array([[1.0, 2, 3], [1, 2, 3]]))
    assert part.estimate.value == pytest.approx(1) and part.how == "without 1 samples whose scores are all equal"
    assert rank_correlation(np.ones((2, 3)), np.ones((2, 3))).why == "every sample's scores are all equal"


def test_cosine_by_the_angle():
    angles = np.linspace(0, np.pi, 7)
    turned = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.arange(1, 8)[:, None]
    assert cosine(turned, np.tile([2.0, 0.0], (7, 1))).estimate.value == pytest.approx(np.cos(angles).mean())
    zeros = np.zeros((1, 2))
    assert cosine(zeros, np.ones((1, 2))).estimate.value == 0 and cosine(zeros, zeros).estimate.value == 1


def test_top1_agreement_of_classes_and_of_texts():
    assert top1_agreement([1, 2, 3, 4], [1, 2, 0, 4]).estimate.value == 0.75
    assert top1_agreement(["a dog"], ["a dog"]).estimate.note == "a single unit"


@pytest.mark.parametrize("measure", [cosine, rank_correlation])
def test_outputs_that_are_not_finite_are_said_and_shapes_must_fit(measure):
    good = np.arange(6.0).reshape(3, 2)
    bad = np.where(good == 2, np.nan, good)
    assert measure(bad, good).why == "not computed: 1 of 3 outputs of the model are not finite"
    assert measure(good, bad).why == "not computed: 1 of 3 outputs of fp32 are not finite"
    with pytest.raises(ValueError, match="are not two arrays"):
        measure(good, good[:2])
