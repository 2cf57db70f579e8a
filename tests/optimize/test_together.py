"""A limit of megabytes is the model's: what its graphs run as is chosen together."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from quantized_toy import interval, rated

from mmedge.errors import MmedgeError
from mmedge.optimize.choice import choice
from mmedge.optimize.together import size_mb, together
from mmedge.rated import Budget

FP32 = rated("ort fp32", size_mb=100.0)
STATIC = rated("ort static", precision="int8", ratio=0.4, size_mb=26.0)
WEIGHTS = rated("ort weights", precision="int8", ratio=0.6, size_mb=20.0)
BLOCKS = rated("ort blocks", precision="int4", ratio=0.9, size_mb=14.0)
ALL = (FP32, STATIC, WEIGHTS, BLOCKS)


def chosen(budget, goal="latency", **graphs):
    alone = {key: choice(some, goal, budget, True) for key, some in graphs.items()}
    return together("eyes", alone, goal, budget, True)


def names(found):
    return {key: one.chosen for key, one in found.items()}


def test_what_fits_stays_as_it_was_chosen():
    alone = {key: choice(ALL, "latency", Budget(), True) for key in ("image", "text")}
    assert together("eyes", alone, "latency", Budget(max_mb=52), True) == alone
    assert together("eyes", alone, "latency", Budget(), True) == alone


def test_the_graph_that_loses_least_by_it_makes_room():
    """6 MB too much: the text tower takes .5 of .6 of its time less where it becomes smaller, and the image tower .2."""
    text = (FP32, STATIC, rated("ort weights", precision="int8", ratio=0.9, size_mb=20.0))
    found = chosen(Budget(max_mb=46), image=ALL, text=text)
    assert names(found) == {"image": "ort weights", "text": "ort static"}
    assert found["image"].why == "the graphs together are the fastest within --max-mb 46 with it: 0.60 times ort fp32 (0.59 to 0.61), 20.0 of 100.0 MB"
    assert found["image"].rated[0].name == "ort weights" and len(found["image"].rated) == len(ALL)
    assert found["text"].why.startswith("the fastest that holds: ")


def test_the_limits_of_each_graph_hold_in_it_too():
    assert names(chosen(Budget(max_mb=40), image=ALL, text=ALL)) == {"image": "ort weights", "text": "ort weights"}
    assert set(names(chosen(Budget(max_mb=34), image=ALL, text=ALL)).values()) == {"ort weights", "ort blocks"}
    with pytest.raises(MmedgeError, match=r"of eyes within --max-latency-ms 0\.7 take at most 34 MB together: the smallest take 40\.0 MB"):
        chosen(Budget(max_mb=34, max_latency_ms=0.7), image=ALL, text=ALL)


def test_the_best_of_all_combinations_is_found():
    random = np.random.default_rng(0)
    for _ in range(20):
        graphs = {}
        for key in "abc":
            some = [
                rated(f"ort {n}", precision="int8", ratio=r, size_mb=s) for n, (r, s) in enumerate(zip(random.uniform(0.3, 0.8, 5), random.uniform(9, 90, 5)))
            ]
            exact = [
                one.model_copy(update={"ratio": interval(one.ratio.value).model_copy(update={"low": one.ratio.value, "high": one.ratio.value})}) for one in some
            ]
            graphs[key] = (FP32, *exact)
        limit = float(random.uniform(100, 200))
        within = [some for some in product(*graphs.values()) if sum(one.size_mb for one in some) <= limit]
        found = chosen(Budget(max_mb=limit), **graphs)
        least = min(sum(one.latency_ms for one in some) for some in within)
        assert size_mb(found) <= limit
        assert 0.95 * sum(one.of(one.chosen).latency_ms for one in found.values()) <= least


def test_what_is_not_surely_faster_than_fp32_is_taken_where_it_makes_room():
    unsure = rated("ort unsure", precision="int8", ratio=0.995, lost=0.001, size_mb=30.0)
    assert names(chosen(Budget(max_mb=130), image=(FP32, unsure), text=ALL)) == {"image": "ort fp32", "text": "ort static"}
    assert names(chosen(Budget(max_mb=118), image=(FP32, unsure), text=ALL)) == {"image": "ort unsure", "text": "ort static"}


def test_a_limit_that_nothing_keeps_names_the_smallest_and_a_limit_that_does():
    with pytest.raises(MmedgeError) as caught:
        chosen(Budget(max_mb=27.9), image=ALL, text=ALL)
    said = "take at most 27.9 MB together: the smallest take 28.0 MB (image ort blocks 14.0 + text ort blocks 14.0)"
    assert caught.value.what == f"no candidates for the graphs of eyes {said}"
    assert caught.value.fix == "raise the limit: --max-mb 28"
    assert size_mb(chosen(Budget(max_mb=28), image=ALL, text=ALL)) == 28
