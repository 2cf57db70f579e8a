"""What may stay in float where a candidate is repaired."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper
from small_graph import graph

from mmedge.optimize.proposals import indispensable


@pytest.mark.parametrize(("words", "stays"), [(60_000, {"words"}), (64, set())])
def test_a_matrix_that_most_bytes_are_cannot_stay_in_float(words, stays, tmp_path):
    """Of n bytes, a quarter is left in integers: what is kept of more than two thirds of them leaves over three quarters."""
    shapes = {"w": (64, 64), "v": (64, words)}
    constants = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], name="hidden"), helper.make_node("MatMul", ["h", "v"], ["y"], name="words")]
    whole = graph(tmp_path / "g.onnx", *nodes, inputs={"x": ("float32", ("n", 64))}, outputs={"y": ("float32", ("n", words))}, constants=constants)
    assert indispensable(whole) == stays
