"""What a model that already is ONNX should give, and by whom."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from small_graph import graph

from mmedge.build.golden import reference_outputs
from mmedge.errors import MmedgeError
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


def test_an_operator_of_others_is_computed_without_optimisation(tmp_path):
    made = graph(tmp_path / "g.onnx", helper.make_node("FastGelu", ["x"], ["y"], domain="com.microsoft"))
    model = onnx.load(made.path)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, made.path)
    found, name = reference_outputs(made, OnnxGraph(b"", FEEDS))
    assert name.startswith("onnxruntime ")
    assert np.allclose(found["y"], [-0.1033, 0.0206, 100.0], atol=1e-3)


def test_a_form_of_an_operator_that_the_definition_lacks_is_computed_without_optimisation(tmp_path):
    """GatherElements with fewer indexes than there is to gather from, in another dimension than its own: Piper's voices have it."""
    constants = [numpy_helper.from_array(np.array([0]), "axes"), numpy_helper.from_array(np.array([[0, 0]]), "at")]
    nodes = helper.make_node("Unsqueeze", ["x", "axes"], ["row"]), helper.make_node("GatherElements", ["row", "at"], ["found"], axis=0)
    made = graph(tmp_path / "g.onnx", *nodes, helper.make_node("Squeeze", ["found", "axes"], ["y"]), constants=constants)
    found, name = reference_outputs(made, OnnxGraph(b"", FEEDS))
    assert name.startswith("onnxruntime ") and np.array_equal(found["y"], FEEDS["x"][:2])


def test_an_operator_without_optional_inputs_that_the_definition_wants_is_computed_without_optimisation(tmp_path):
    boxes, scores = np.array([[[0, 0, 1, 1], [2, 2, 3, 3]]], np.float32), np.array([[[0.2, 0.9]]], np.float32)
    constants = [numpy_helper.from_array(value, name) for name, value in (("boxes", boxes), ("scores", scores), ("most", np.array([1])))]
    nodes = [
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most"], ["found"]),  # [batch, class, box]: [[0, 0, 1]]
        helper.make_node("Cast", ["found"], ["numbers"], to=1),
        helper.make_node("ReduceSum", ["numbers"], ["one"], keepdims=0),
        helper.make_node("Add", ["x", "one"], ["y"]),
    ]
    found, name = reference_outputs(graph(tmp_path / "g.onnx", *nodes, constants=constants), OnnxGraph(b"", FEEDS))
    assert name.startswith("onnxruntime ") and np.allclose(found["y"], FEEDS["x"] + 1)


def test_what_breaks_the_definition_of_an_operator_is_refused(tmp_path):
    made = graph(tmp_path / "g.onnx", helper.make_node("Gather", ["x", "at"], ["y"]), constants=[numpy_helper.from_array(np.array([2, 5]), "at")])
    with pytest.raises(MmedgeError, match=r"g\.onnx cannot be computed as onnx [\d.]+ defines it: index 5 is out of bounds") as caught:
        reference_outputs(made, OnnxGraph(b"", FEEDS))
    assert "onnx.checker" in caught.value.fix
