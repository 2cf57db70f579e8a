"""The table of a training: what is really better is said so, and nothing else."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mmedge.distill.page import write_page
from mmedge.distill.record import State, Told
from mmedge.distill.report import Distillation, Run, arms, differences, table
from mmedge.errors import MmedgeError
from mmedge.evaluate.metrics.bootstrap import Draft, Samples, mean, measure
from mmedge.evaluate.statistics import Statistics
from mmedge.profile.machine import machine


def run(name, kind, hits, **others):
    """An arm whose accuracy is the share of these hits."""
    rows = np.array(hits, np.float64)[:, None]
    return Run(name, kind, {one.name: one for one in measure([Draft("accuracy", Samples(rows, mean))])}, parameters=2_000_000, **others)


GOOD, WORSE, ALIKE = [1] * 40 + [0] * 10, [1] * 10 + [0] * 40, [0] + [1] * 39 + [0] * 9 + [1]


@pytest.fixture
def made():
    losses = tuple(Told(step=step, loss=1 / step, terms={}) for step in range(1, 1001))
    state = State(key="k", step=1000, losses=losses)
    runs = [
        run("trained", "trained", GOOD, trained=1_000_000, state=state),
        run("worse", "control", WORSE),
        run("alike", "ablation", ALIKE),
        run("seed 1", "seed", ALIKE),
    ]
    named = {"recipe": "r", "role": "eyes", "created": "", "data": "d", "fingerprint": "f" * 64, "fold": "test", "train": 9, "validation": 0, "test": 50}
    kept = Statistics()
    judged = {"judged": "accuracy", "arms": arms(runs, "accuracy", kept), "differences": differences(runs, "accuracy")}
    return Distillation(**named, **judged, statistics=kept.matrices(), seconds=1, machine=machine(), packages={})


def test_differences_are_of_the_same_samples(made):
    worse, alike = made.differences
    assert worse.value == pytest.approx(np.mean(GOOD) - np.mean(WORSE))
    # of paired samples, 30 of 50 differ by 1 and the others by 0: the deviation of their mean is sqrt(.6 * .4 / 50), .069
    assert worse.low == pytest.approx(0.6 - 1.96 * 0.069, abs=0.02)
    assert worse.high == pytest.approx(0.6 + 1.96 * 0.069, abs=0.02)
    assert worse.real and not alike.real
    assert alike.value == 0


def test_the_table_says_which_differences_are_real(made):
    said = table(made)
    assert "trained: accuracy 0.600 above worse (95 % interval" in said
    assert "trained: accuracy +0.000 to alike: no real difference" in said
    assert "2.00 M      1.00 M" in said
    assert "to seed" not in said


def test_every_row_has_its_units(made):
    for arm, hits in zip(made.arms, (GOOD, WORSE, ALIKE, ALIKE)):
        rows = made.figure(arm.name, "accuracy").rows
        assert [row[0] for row in made.statistics[rows]] == hits
    assert len(made.statistics) == 3


def test_a_long_curve_is_thinned_and_keeps_its_ends(made):
    kept = [one.step for one in made.arms[0].curve.loss]
    assert len(kept) <= 202
    assert (kept[0], kept[-1]) == (1, 1000)
    assert made.arms[1].curve is None


def test_a_figure_that_is_not_there(made):
    assert made.figure("worse", "accuracy").value == pytest.approx(0.2)
    with pytest.raises(MmedgeError, match="no f1 of worse"):
        made.figure("worse", "f1")


def test_the_page_shows_every_row_and_nothing_comes_from_anywhere(made, tmp_path):
    pytest.importorskip("vl_convert")
    hostile = made.model_copy(update={"data": "<script>alert(1)</script>"})
    write_page(hostile, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    for arm in made.arms:
        assert re.search(rf'<th scope="row">{arm.name}', text), arm.name
    assert "+0.600 <small>" in text and "the interval leaves 0 out" in text and "no real difference" in text
    assert "://" not in text and "alert(1)</script>" not in text
    said = re.findall(r'<svg[^>]* aria-label="([^"]+)"', text)  # each drawn for a desk and for a telephone
    assert len(said) == 4 and said[0] == said[1] and "worse 0.200, " in said[0]
    assert said[2].startswith("loss, smoothed: trained from 1.000 to ")
