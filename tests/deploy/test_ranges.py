"""Ranges of dynamic dimensions: the family's, else the golden data's, and in every bundle one for each."""

from __future__ import annotations

import numpy as np
import pytest
from checkpoints import discovered

from mmedge import runner
from mmedge.deploy.ranges import ranges_for, with_ranges
from mmedge.evaluate.golden import Golden
from mmedge.tensors import TensorSpec

IDS = TensorSpec("input_ids", "int64", ("batch", "tokens"))
GROWING, FIXED = (TensorSpec("past_key_0", "float32", (1, 2, size, 8)) for size in ("past", 32))


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({}, {"batch": (1, 3, 3), "tokens": (1, 9, 9)}),
        ({"tokens": (2, 16, 77)}, {"batch": (1, 3, 3), "tokens": (2, 16, 77)}),
        ({"batch": (1, 1, 8), "text_encoder/batch": (1, 2, 64)}, {"batch": (1, 2, 64), "tokens": (1, 9, 9)}),
        ({"batch": (1, 1, 8), "image_encoder/batch": (1, 2, 64)}, {"batch": (1, 1, 8), "tokens": (1, 9, 9)}),
    ],
)
def test_what_a_family_states_comes_before_the_golden_sizes(stated, expected):
    assert ranges_for("text_encoder", [IDS], {"input_ids": (3, 9)}, stated) == expected


def test_other_dimensions_keep_their_golden_size():
    spec = TensorSpec("x", "float32", ("batch", 80, "frames"))
    assert ranges_for("encoder", [spec], {"x": (1, 80, 1000)}, {}) == {"batch": (1, 1, 1), "frames": (1000, 1000, 1000)}


def test_no_more_tokens_than_fit_into_a_cache_of_fixed_length():
    stated = {"tokens": (1, 1, 4096), "past": (0, 512, 4095), "batch": (1, 1, 1)}
    golden = {"input_ids": (1, 2), "past_key_0": (1, 2, 12, 8)}
    assert ranges_for("language", [IDS, GROWING], golden, stated)["tokens"] == (1, 1, 4096)
    found = ranges_for("language", [IDS, FIXED], {**golden, "past_key_0": (1, 2, 32, 8)}, stated)
    assert found == {"batch": (1, 1, 1), "tokens": (1, 1, 32)}


@pytest.mark.parametrize("stated", [(1, 2, 8), (10, 10, 20), (1, 30, 20), (3, 2, 20), (-1, 2, 20)])
def test_a_range_that_is_none_or_leaves_out_the_golden_data_is_the_familys_bug(stated):
    with pytest.raises(ValueError, match="text_encoder: the family's range of tokens"):
        ranges_for("text_encoder", [IDS], {"input_ids": (1, 9)}, {"tokens": stated})


def test_a_bundle_from_before_has_the_golden_sizes(toy_bundle):
    spec = TensorSpec("x", "float32", ("batch", "n"))
    variant = runner.Graph(toy_bundle, "v", (spec,), ())
    graph = with_ranges(runner.Graph(toy_bundle, "g", (spec,), (), variants={"fp16": variant}), {"x": np.zeros((2, 5), np.float32)})
    assert graph.ranges == graph.variants["fp16"].ranges == {"batch": (1, 2, 2), "n": (5, 5, 5)}
    assert with_ranges(graph, {}) is graph


@pytest.mark.full
@pytest.mark.parametrize("architecture", sorted(discovered(), reverse=True))
def test_every_dimension_of_every_graph_has_a_range_around_its_golden_size(small_bundle, architecture):
    bundle = small_bundle(architecture)
    for role, model in bundle.manifest.models.items():
        golden = Golden(bundle, role)
        for name, graph in model.graphs.items():
            feeds = golden.graph(name)[0]
            sizes = {size: have for one in graph.inputs for size, have in zip(one.shape, feeds[one.name].shape) if isinstance(size, str)}
            assert graph.ranges.keys() == sizes.keys(), name
            assert all(least <= sizes[one] <= largest for one, (least, _, largest) in graph.ranges.items()), name
            assert bundle.graph(role, name).ranges == graph.ranges
