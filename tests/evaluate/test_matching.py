"""Pairs that belong together, and inputs that may be missing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from evaluate.data_sets import json_lines
from PIL import Image

from mmedge.evaluate.data import open_data
from mmedge.evaluate.matching import WRONG, Matching
from mmedge.evaluate.metrics.reduces import reduce_of
from mmedge.evaluate.metrics.roc import pair_area
from mmedge.evaluate.noise import conditions
from mmedge.evaluate.tasks import Setting, decode


def test_the_area_over_pairs_is_scipys():
    from scipy.stats import mannwhitneyu

    random = np.random.default_rng(0)
    rows = np.round(random.normal(size=(30, 4)), 1)
    rows[:, 0] += 0.5
    rows[3, 2:] = np.nan
    negatives = rows[:, 1:][~np.isnan(rows[:, 1:])]
    wanted = mannwhitneyu(rows[:, 0], negatives).statistic / (30 * len(negatives))
    assert pair_area(np.ones((1, 30)), rows)[0] == pytest.approx(wanted)
    lonely = np.vstack([rows, [99, np.nan, np.nan, np.nan]])  # has nothing that it could be taken for
    assert pair_area(np.ones((1, 31)), lonely)[0] == pytest.approx(wanted)
    twice = np.ones((1, 30))
    twice[0, 5] = 2  # as if the sample had been drawn twice
    assert pair_area(twice, rows)[0] == pytest.approx(pair_area(np.ones((1, 31)), np.vstack([rows, rows[5]]))[0])
    assert np.isnan(pair_area(np.ones((1, 2)), np.array([[1, np.nan], [2, np.nan]]))[0])
    assert reduce_of("auc_folder", rows) is pair_area


class Matches:
    """Knows how alike a picture's brightness and a text's length are."""

    def __init__(self):
        self.read = []

    def encode_image(self, image):
        return SimpleNamespace(vector=np.array([float(np.asarray(image).mean())]))

    def encode_text(self, text):
        self.read.append(text)
        return text

    def match(self, image, text):
        return -abs(float(image.vector[0]) / 40 - len(text))


def grey(path, level):
    path.parent.mkdir(exist_ok=True)
    Image.new("L", (4, 4), level).save(path)


@pytest.fixture
def pairs(tmp_path):
    rows = []
    for number in range(1, 7):
        grey(tmp_path / "ab"[number % 2] / f"{number}.png", 40 * number)
        rows.append({"file_name": f"{'ab'[number % 2]}/{number}.png", "text": ["x" * number, "y" * number]})
    json_lines(tmp_path / "metadata.jsonl", rows)
    return open_data(tmp_path)


def test_each_text_is_read_once_and_wrong_pairs_are_wrong(pairs):
    task, session = Matching(None, pairs, ("image",), "text", Setting()), Matches()
    ask = task.open(session)
    answers = [ask(decode(sample, task.inputs)) for sample in pairs]
    found = task.score(session, answers, [sample.fields["text"] for sample in pairs])
    assert {metric.name: metric.estimate.value for metric in found.metrics} == {"auc_random": 1, "auc_folder": 1}
    assert sorted(session.read) == ["x" * number for number in range(1, 7)] and list(found.said) == ["x" * number for number in range(1, 7)]
    near = next(metric.samples.rows for metric in found.metrics if metric.name == "auc_folder")
    assert np.isfinite(near).sum(axis=1).tolist() == [3] * 6  # itself, and the two others of its folder
    assert np.isfinite(found.metrics[0].samples.rows).all() and found.metrics[0].samples.rows.shape == (6, 1 + WRONG)


def test_without_folders_nothing_is_said_of_them(tmp_path):
    for number in range(1, 4):
        grey(tmp_path / f"{number}.png", 40 * number)
    json_lines(tmp_path / "metadata.jsonl", [{"file_name": f"{number}.png", "text": "x" * number} for number in range(1, 4)])
    data = open_data(tmp_path)
    task, session = Matching(None, data, ("image",), "text", Setting()), Matches()
    answers = [task.open(session)(decode(sample, task.inputs)) for sample in data]
    _, near = task.score(session, answers, [sample.fields["text"] for sample in data]).metrics
    assert near.estimate is None and near.why == "not computed: there are no folders with several different texts"


def test_what_a_model_can_do_without_is_left_out():
    made = conditions(("image", "text"), ("image", "text"))
    picture = np.zeros((4, 4, 3), np.uint8)
    assert made["text missing"]({"image": picture, "text": "a cat"}, "k") == {"image": picture, "text": None}
    assert made["text missing"]({"image": None, "text": "a cat"}, "k") == {"image": None, "text": ""}  # it has nothing else
    assert made["text noisy"]({"image": picture, "text": None}, "k")["text"] is None
    assert conditions(("image", "text"))["text missing"]({"image": picture, "text": "a cat"}, "k")["text"] == ""
