"""Every metric can be made again from its name and what is stored of it."""

from __future__ import annotations

import numpy as np
import pytest

from mmedge.evaluate.metrics import agreement, captions, classification, retrieval, speech, vqa
from mmedge.evaluate.metrics.reduces import reduce_of


def every_metric():
    random = np.random.default_rng(0)
    words = [" ".join(random.choice(list("abc"), 5)) for _ in range(40)]
    others = [" ".join(random.choice(list("abc"), 5)) for _ in range(40)]
    yield from retrieval.retrieval(random.random((20, 30)), random.random((20, 30)) < 0.1)
    yield from captions.captions(words, [[one] for one in others])
    yield from vqa.vqa([one[0] for one in words], [[one[0]] * 5 for one in others])
    yield from speech.speech(words, others, "none")
    vectors = random.random((2, 12, 5))
    yield from (agreement.cosine(*vectors), agreement.rank_correlation(*vectors), agreement.top1_agreement(words, others))
    for names in ("ab", "abcd"):
        predicted, expected = (random.choice(list(names), 50).tolist() for _ in range(2))
        yield from classification.classification(predicted, expected, list(names), random.random((50, len(names)))).metrics


def test_a_metric_is_made_again_from_its_rows():
    pytest.importorskip("jiwer")
    seen = set()
    for metric in every_metric():
        if metric.samples is None:
            assert metric.name == "meteor"
            continue
        rows = metric.samples.rows
        classes = int(rows.max()) + 1 if metric.name.endswith(("_macro", "_micro", "_weighted")) else 0
        weights = np.random.default_rng(1).integers(0, 3, (4, len(rows))).astype(np.float64)
        np.testing.assert_array_equal(reduce_of(metric.name, rows, classes)(weights, rows), metric.samples.reduce(weights, rows))
        seen.add(metric.name)
    assert len(seen) >= 30


def test_of_an_unknown_metric_there_is_nothing():
    with pytest.raises(KeyError):
        reduce_of("spice", np.zeros((1, 1)))
