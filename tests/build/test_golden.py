"""What a model that already is ONNX should give, and by whom."""

from __future__ import annotations

import numpy as np
from onnx import helper, numpy_helper
from small_graph import graph

from mmedge.build.golden import reference_outputs
from mmedge.family import OnnxGraph

FEEDS = {"x": np.array([-0.26, 0.04, 100.0], np.float32)}


def test_the_definition_decides_where_it_has_every_operator(tmp_path):
    found, name = reference_outputs(graph(tmp_path / "g.onnx", helper.make_node("Neg", ["x"], ["y"])), OnnxGraph(b"", FEEDS))
    assert name.startswith("onnx ") and np.array_equal(found["y"], -FEEDS["x"])


def test_an_operator_that_the_definition_lacks_is_computed_without_optimisation(tmp_path):
    """onnx's evaluator knows DequantizeLinear from opset 19 on, and quantized files of others are older."""
    constants = [numpy_helper.from_array(np.float32(0.1), "scale"), numpy_helper.from_array(np.int8(0), "zero")]
    nodes = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]), helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"])
    found, name = reference_outputs(graph(tmp_path / "g.onnx", *nodes, constants=constants), OnnxGraph(b"", FEEDS))
    assert name.startswith("onnxruntime ") and name.endswith(" without optimisation")
    assert np.allclose(found["y"], [-0.3, 0.0, 12.7])
