from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from PIL import Image

from mmedge.bundle import Bundle
from mmedge.profile.measure import Dissected, breakdown
from mmedge.spans import Watched, timed
from mmedge.target import Target


def test_a_call_is_dissected_and_warm_up_does_not_count():
    now_s, lengths_s = [0.0], iter([0.2, 0.01, 0.01])

    @timed("processors")
    def work():
        now_s[0] += next(lengths_s)

    def verb():
        work()
        now_s[0] += 0.004

    call = Dissected(verb, lambda: now_s[0])
    for _ in range(3):
        call()
    made = call.breakdown(2)
    assert [(part.name, part.median_ms) for part in made.parts] == [("processors", 10), ("rest", 4)]
    assert (made.whole_ms, made.sum_ms) == (14, 14)
    assert made.difference == pytest.approx(0)


def test_parts_are_medians_and_the_difference_is_of_each_call():
    made = breakdown([10.0, 20.0, 40.0], {"a": [4.0, 9.0, 20.0], "b": [5.0, 9.0, 12.0]})
    assert [(part.name, part.median_ms, part.share) for part in made.parts] == [("a", 9.0, 0.4714), ("b", 9.0, 0.3714)]  # 33 and 26 of 70
    assert (made.whole_ms, made.sum_ms) == (20.0, 18.0)
    assert made.difference == pytest.approx(0.1)


def test_a_part_that_a_call_did_not_have_is_zero():
    made = breakdown([10.0, 10.0], {"a": [10.0, 0.0]})
    assert made.difference == pytest.approx(0.5)


def test_the_stages_of_a_real_verb_sum_to_the_whole(toy_bundle):
    """A ratio of times within each call, so that a slow machine does not matter: what no stage explains is the cost of the spans themselves."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (1200, 1600, 3), np.uint8))
    target, through = Target.load("cpu"), lambda name, runner: Watched(f"graph {name}", runner)
    with Bundle.open(toy_bundle).session("eyes", target, through=through) as session:
        call = Dissected(partial(session.embed_image, picture))
        for _ in range(12):
            call()
    made = call.breakdown(9)
    assert {"processors", "graph image_encoder", "rest"} <= {part.name for part in made.parts}
    assert 0 <= made.difference <= 0.02 and made.sum_ms == pytest.approx(made.whole_ms, rel=0.02)
