"""Graphs as NVIDIA's own parser reads them: TensorRT for RTX does so without a GPU or a driver."""

from __future__ import annotations

import dataclasses
import platform

import numpy as np
import pytest
from onnx import helper, numpy_helper
from small_graph import graph

from mmedge.backends.tensorrt.network import parse, types
from mmedge.backends.tensorrt.refusals import Refusal
from mmedge.errors import MmedgeError
from mmedge.tensors import TensorSpec

if platform.machine() != "x86_64":
    pytest.skip("TensorRT for RTX has wheels for x86-64 only", allow_module_level=True)

N = helper.make_node
ROOT = N("Sqrt", ["x"], ["y"], name="root")
HALF, FLOAT = 10, 1


def test_a_graph_is_taken(tmp_path):
    parsed = parse(graph(tmp_path / "a.onnx", ROOT), "rtx")
    assert parsed.refusals == ()
    assert (parsed.network.num_inputs, parsed.network.num_outputs, parsed.network.num_layers) == (1, 1, 1)


def test_a_refusal_has_node_operator_and_the_parsers_words(tmp_path):
    nodes = N("NonZero", ["x"], ["found"], name="where"), N("Cast", ["found"], ["y"], to=FLOAT)
    (refused,) = parse(graph(tmp_path / "a.onnx", *nodes), "rtx").refusals
    assert (refused.node, refused.operator) == ("where", "NonZero")
    assert "NonZero plugin creator version 1 was not found in plugin registry" in refused.reason
    assert str(refused).startswith("where (NonZero): Assertion failed")
    assert parse(graph(tmp_path / "b.onnx", ROOT), "rtx").refusals == ()  # one refusal does not spoil what follows


def test_every_operator_that_there_is_none_for_is_told(tmp_path):
    """Of these the parser says only that something is false."""
    nodes = N("Unique", ["x"], ["a"], name="one"), N("Det", ["a"], ["y"], name="two")
    refused = parse(graph(tmp_path / "a.onnx", *nodes), "rtx").refusals
    assert [str(one) for one in refused] == ["one (Unique): UNSUPPORTED_NODE, by checkUnique", "two (Det): UNSUPPORTED_NODE, by checkDet"]


def test_outputs_of_the_same_name_are_named_as_such(tmp_path, capfd):
    """The parser itself speaks of a topological sort."""
    nodes = N("Sqrt", ["x"], ["r"], name="one"), N("Exp", ["x"], ["r"], name="two"), N("Exp", ["r"], ["y"], name="three")
    first, second, parsers = parse(graph(tmp_path / "a.onnx", *nodes), "rtx").refusals
    said = "its output 'r' has the name of another node's output"
    assert (first, second) == (Refusal("one", "Sqrt", said), Refusal("two", "Exp", said))
    assert "Failed to sort the model topologically" in parsers.reason
    assert capfd.readouterr().out == ""  # of what NVIDIA's library writes by itself, nothing comes between --json's lines


def test_a_cycle_is_no_matter_of_names(tmp_path):
    nodes = N("Add", ["x", "b"], ["a"], name="one"), N("Exp", ["a"], ["b"], name="two"), N("Exp", ["b"], ["y"], name="three")
    refused = parse(graph(tmp_path / "a.onnx", *nodes), "rtx").refusals
    assert refused
    assert not any("has the name of another" in one.reason for one in refused)


def test_weights_in_a_file_beside_it(tmp_path):
    weights = numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4), "w")
    sides = {"inputs": {"x": ("float32", ("n", 4))}, "outputs": {"y": ("float32", ("n", 4))}}
    made = graph(tmp_path / "a.onnx", N("MatMul", ["x", "w"], ["y"], name="product"), constants=[weights], external=True, **sides)
    assert made.weights.is_file()
    parsed = parse(made, "rtx")
    assert parsed.refusals == ()
    constant = next(layer for layer in map(parsed.network.get_layer, range(parsed.network.num_layers)) if layer.type.name == "CONSTANT")
    assert constant.get_output(0).shape == (4, 4)
    made.weights.unlink()
    assert parse(made, "rtx").refusals


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>not found</html>"])
def test_what_is_no_graph(tmp_path, content):
    """The parser takes many bytes for a graph without nodes."""
    made = graph(tmp_path / "a.onnx", ROOT)
    made.path.write_bytes(content)
    with pytest.raises(MmedgeError, match="cannot be read as ONNX: it has no outputs"):
        parse(made, "rtx")


def test_half_a_file(tmp_path):
    made = graph(tmp_path / "a.onnx", ROOT)
    made.path.write_bytes(made.path.read_bytes()[:40])
    (refused,) = parse(made, "rtx").refusals
    assert "Failed to parse the ONNX model" in refused.reason


def test_a_file_that_is_not_there(tmp_path):
    made = dataclasses.replace(graph(tmp_path / "a.onnx", ROOT), path=tmp_path / "none.onnx")
    (refused,) = parse(made, "rtx").refusals
    assert "Input file cannot be found" in refused.reason


def test_inputs_and_outputs_are_held_to_what_is_declared(tmp_path):
    made = graph(tmp_path / "a.onnx", ROOT)
    other = dataclasses.replace(made, inputs=(TensorSpec("x", "int64", ("n",)),), outputs=(TensorSpec("z", "float32", ("n",)),))
    assert [one.reason for one in parse(other, "rtx").refusals] == [
        "the graph's input x is int64, the parser makes float32 of it",
        "the graph's output z is float32, the parser makes none of it",
    ]


def test_what_a_network_computes_in(tmp_path):
    """Casts and constants compute nothing."""
    nodes = N("Sqrt", ["x"], ["r"]), N("Cast", ["r"], ["h"], to=HALF), N("Add", ["h", "h"], ["s"]), N("Exp", ["s"], ["e"]), N("Cast", ["e"], ["y"], to=FLOAT)
    assert types(parse(graph(tmp_path / "a.onnx", *nodes), "rtx").network) == {"fp32": 1, "fp16": 2}
    nodes = N("Cast", ["x"], ["h"], to=HALF), N("Cast", ["h"], ["r"], to=FLOAT), N("Exp", ["r"], ["y"])
    assert types(parse(graph(tmp_path / "b.onnx", *nodes), "rtx").network) == {"fp32": 1}


def test_integers_that_become_floats_count_as_integers(tmp_path):
    """Weights in 8 bits, and activations in 8 bits."""
    sides = {"inputs": {"x": ("float32", ("n", 4))}, "outputs": {"y": ("float32", ("n", 4))}}
    eights = numpy_helper.from_array(np.arange(16, dtype=np.int8).reshape(4, 4), "q")
    scale, zero = numpy_helper.from_array(np.float32(0.1), "scale"), numpy_helper.from_array(np.int8(0), "zero")
    weights = N("DequantizeLinear", ["q", "scale", "zero"], ["w"]), N("MatMul", ["x", "w"], ["y"])
    assert types(parse(graph(tmp_path / "a.onnx", *weights, constants=[eights, scale, zero], **sides), "rtx").network)["int8"] == 1
    both = N("QuantizeLinear", ["x", "scale", "zero"], ["a"]), N("DequantizeLinear", ["a", "scale", "zero"], ["b"])
    product = N("DequantizeLinear", ["q", "scale", "zero"], ["w"]), N("MatMul", ["b", "w"], ["y"])
    made = graph(tmp_path / "b.onnx", *both, *product, constants=[eights, scale, zero], **sides)
    assert types(parse(made, "rtx").network)["int8"] == 3
