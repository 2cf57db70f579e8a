"""Against a plain sort of each query's answers, and cases whose figures are known."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from mmedge.evaluate.metrics.retrieval import gallery, retrieval


def figures(scores, relevant):
    return {metric.name: metric.estimate.value for metric in retrieval(np.asarray(scores, dtype=float), relevant)}


def by_sorting(scores, relevant):
    """The rank of the first right answer when wrong ones are put before right ones of the same score."""
    found = []
    for row, right in zip(scores, relevant):
        order = sorted(range(len(row)), key=lambda answer: (-row[answer], bool(right[answer])))
        found.append(1 + next(place for place, answer in enumerate(order) if right[answer]))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_ranks_are_those_of_a_sort(seed):
    draw = np.random.default_rng(seed)
    captions = [[f"caption {draw.integers(0, 60)}" for _ in range(draw.integers(1, 5))] for _ in range(30)]
    texts, relevant = gallery(captions)
    scores = draw.integers(0, 9, relevant.shape) + 3 * (relevant & (draw.random(relevant.shape) < 0.5))  # many ties
    found = figures(scores, relevant)
    for way, ranks in (("image_to_text", by_sorting(scores, relevant)), ("text_to_image", by_sorting(scores.T, relevant.T))):
        assert found[f"{way}_median_rank"] == statistics.median(ranks)
        for k in (1, 5, 10):
            assert found[f"{way}_r{k}"] == pytest.approx(np.mean(np.array(ranks) <= k))
    assert len(texts) == len({text for own in captions for text in own})


def test_a_caption_that_pictures_share_is_right_for_all_of_them():
    texts, relevant = gallery([["A flower.", "a rose"], ["a  Flower"], ["a dog"]])
    assert texts == ["A flower.", "a rose", "a dog"]
    assert relevant.tolist() == [[True, True, False], [True, False, False], [False, False, True]]
    found = figures([[0.9, 0.1, 0.2], [0.9, 0.3, 0.2], [0.1, 0.2, 0.8]], relevant)
    assert found["image_to_text_r1"] == 1 and found["text_to_image_r1"] == pytest.approx(2 / 3)  # a rose goes to the second picture


def test_a_model_that_scores_everything_alike_finds_nothing():
    found = figures(np.zeros((20, 20)), np.eye(20, dtype=bool))
    assert found["image_to_text_r10"] == 0 and found["text_to_image_median_rank"] == 20


def test_what_is_right_for_nothing_distracts_and_asks_nothing():
    relevant = np.array([[True, False], [False, False]])
    found = retrieval(np.array([[1.0, 2.0], [3.0, 4.0]]), relevant)
    known = {metric.name: metric.estimate for metric in found}
    assert known["image_to_text_median_rank"].value == 2 and known["image_to_text_median_rank"].n == 1
    assert known["text_to_image_median_rank"].value == 2 and known["text_to_image_median_rank"].n == 1
    assert found[0].how == "1 queries, 2 in the gallery"


def test_texts_are_drawn_with_their_picture():
    """One picture with nine captions that are all found, nine pictures with one each that is not: 50 % of texts, from 10 units, not 18."""
    relevant = np.zeros((10, 18), dtype=bool)
    relevant[0, :9] = True
    relevant[np.arange(1, 10), np.arange(9, 18)] = True
    found = next(metric for metric in retrieval(np.where(relevant, [[1.0]] + [[-1.0]] * 9, 0.0), relevant) if metric.name == "text_to_image_r1")
    assert (found.estimate.value, found.estimate.n) == (0.5, 10)
    assert found.estimate.low == 0 and found.estimate.high > 0.7  # resamples without the first picture find nothing


def test_a_resampled_median_is_the_median_of_what_was_drawn():
    draw = np.random.default_rng(0)
    relevant = np.eye(12, dtype=bool)
    scores = draw.normal(size=(12, 12)) + 2 * relevant
    metric = next(one for one in retrieval(scores, relevant) if one.name == "image_to_text_median_rank")
    ranks = by_sorting(scores, relevant)
    for _ in range(20):
        drawn = draw.integers(0, 12, 12)
        weights = np.bincount(drawn, minlength=12).astype(float)[None]
        assert metric.samples.reduce(weights, metric.samples.rows)[0] == np.median([ranks[index] for index in drawn])


def test_no_captions_bad_shapes_and_scores_that_are_not_finite():
    assert {metric.why for metric in retrieval(np.zeros((3, 0)), np.zeros((3, 0), dtype=bool))} == {"there are no captions"}
    assert {metric.why for metric in retrieval(np.full((2, 2), np.nan), np.eye(2, dtype=bool))} == {"not computed: some scores are not finite"}
    with pytest.raises(ValueError, match="differ in shape"):
        retrieval(np.zeros((2, 3)), np.eye(2, dtype=bool))
    assert gallery([])[1].shape == (0, 0)
