"""Nodes that every maker is told to leave in fp32, read back from what it made."""

from __future__ import annotations

import onnx
import pytest
from small_graphs import relative
from small_quantized import SMALL, decodes, feeds_for, graph, normal

from mmedge.errors import MmedgeError
from mmedge.optimize import proto, rounding
from mmedge.optimize.made import maker
from mmedge.quantization import Dynamic, Static, WeightOnly

openvino = pytest.importorskip("openvino")

NNCF = pytest.mark.full  # to import it takes seconds

WEIGHTED = ("MatMul", "Convolution", "GroupConvolution")
FIRST = {"attends": ("up", "a"), "decodes": ("mix", "a"), "convolves": ("wide", "b")}
"""Of each graph, a node that every method would quantize, and what it gives."""

WAYS = [
    ("ort", Dynamic(), "attends"),
    ("ort", Static(), "attends"),
    ("ort", Static(), "convolves"),
    ("ort", WeightOnly(), "attends"),
    ("ort", Dynamic(), "decodes"),
    ("tensorrt", Static(), "attends"),
    ("tensorrt", Static(), "decodes"),
    ("tensorrt", Static(), "convolves"),
    ("tensorrt", WeightOnly(bits=8), "decodes"),
    ("openvino", Static(), "attends"),
    ("openvino", Static(), "convolves"),
    ("openvino", WeightOnly(), "attends"),
    ("openvino", WeightOnly(bits=8), "decodes"),
]


@pytest.mark.parametrize(("backend", "options", "name"), [pytest.param(*way, marks=NNCF) if way[0] == "openvino" else way for way in WAYS])
def test_a_kept_node_is_really_fp32(backend, options, name, tmp_path):
    graph, feeds = SMALL[name](tmp_path), feeds_for(name)
    node, tensor = FIRST[name]
    read = ir if backend == "openvino" else standard
    for keep in ((), (node,)):
        (out := tmp_path / f"out{len(keep)}").mkdir()
        made = maker(backend, options).make(graph, lambda: iter(feeds), out, options, keep)
        stored, got = read(made.file, node, feeds[0])
        assert (node in made.kept_float) == (stored == "fp32") == bool(keep)
        assert set(made.kept_float) <= {one.name for one in proto.load(graph).graph.node}
        if keep and name == "attends":  # elsewhere what it takes is rounded by what gives it
            assert relative(got, fp32(graph, tensor, feeds[0])) < 1e-6


def standard(file, name, feeds):
    """How an ONNX file has a node's weight, and what the node gives."""
    model = onnx.load(file)
    node = next((one for one in model.graph.node if one.name == name), None)
    if node is None or not any(one.name == node.input[1] and one.data_type == onnx.TensorProto.FLOAT for one in model.graph.initializer):
        return "integers", None
    model.graph.output.append(onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None))
    onnx.save(model, probed := file.with_name("probed.onnx"))
    return "fp32", rounding.run(probed, feeds)[node.output[0]]


def ir(file, name, feeds):
    """The same of OpenVINO's IR."""
    model = openvino.Core().read_model(file)
    node = next(one for one in model.get_ops() if one.get_friendly_name() in (name, f"{name}/WithoutBiases") and one.get_type_name() in WEIGHTED)
    weight = node.input_value(1).get_node()
    while weight.get_type_name() in ("Convert", "Reshape", "Transpose"):
        weight = weight.input_value(0).get_node()
    if weight.get_type_name() != "Constant" or weight.get_element_type() != openvino.Type.f32:
        return "integers", None
    compiled = openvino.Core().compile_model(openvino.Model([node.output(0)], model.get_parameters()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return "fp32", compiled(feeds)[0]


def fp32(graph, tensor, feeds):
    model = onnx.load(graph.path)
    model.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    onnx.save(model, probed := graph.path.with_name("probed.onnx"))
    return rounding.run(probed, feeds)[tensor]


@pytest.mark.parametrize(("backend", "options"), [("ort", Static()), ("tensorrt", Static()), pytest.param("openvino", WeightOnly(bits=8), marks=NNCF)])
def test_a_table_stays_with_all_that_use_it_where_one_of_them_does(backend, options, tmp_path):
    graph = decodes(tmp_path)
    for node in ("project", "Gather_0_unnamed"):
        with pytest.raises(MmedgeError, match=r"decodes\.onnx by .* takes 1\.. MB, and 1\.3 MB in fp32"):
            maker(backend, options).make(graph, lambda: iter(feeds_for("decodes")), tmp_path, options, [node])


def test_what_is_not_rounded_takes_what_was_not_rounded(tmp_path):
    """A stream that a product takes too: the product takes it rounded, the gate as it is."""
    text = "g (float[n, 128] x) => (float[n, 128] y) { [left] a = Tanh(x)\n [up] b = MatMul(a, w)\n [gate] c = Mul(a, b)\n [down] y = MatMul(c, v) }"
    made = maker("ort", Static()).make(graph_of(tmp_path, text), lambda: iter([{"x": normal(3, 128)}]), tmp_path, Static(), ["gate", "down"])
    nodes = {node.name: node for node in onnx.load(made.file).graph.node}
    assert list(nodes["gate"].input) == [nodes["left"].output[0], nodes["up"].output[0]] and made.integer == 1
    assert nodes["left"].output[0] not in nodes["up"].input
    assert list(nodes["down"].input) == [nodes["gate"].output[0], "v"]


def graph_of(folder, text):
    return graph(folder / "g.onnx", text, w=normal(128, 128) / 11, v=normal(128, 128, seed=1) / 11)


def test_two_nodes_of_one_name_are_told_apart(tmp_path):
    text = "g (float[n, 128] x) => (float[n, 128] y) { [same] a = MatMul(x, w)\n [same] y = MatMul(a, v) }"
    first, second = (node.name for node in proto.load(graph_of(tmp_path, text)).graph.node)
    assert first == "same" != second
    made = maker("ort", Dynamic()).make(graph_of(tmp_path, text), lambda: iter(()), tmp_path, Dynamic(), [second])
    assert made.kept_float == (second,) and made.integer == 1


def test_what_is_kept_takes_what_was_not_rounded_where_it_was_made(tmp_path):
    """Of products in a row, the first still computes with integers and gives fp32; a convolution has no such form, and stays in fp32, too."""
    made = maker("ort", Static()).make(chain(tmp_path), lambda: iter([{"x": normal(3, 128)}]), tmp_path, Static(), ["second"])
    nodes = {node.name: node for node in onnx.load(made.file).graph.node}
    assert nodes["second"].input[0] == nodes["first"].output[0] and nodes["first"].input[0] != "x"
    assert nodes["third"].input[0] != nodes["second"].output[0]
    assert (made.kept_float, made.integer) == (("second",), 2)


def chain(folder):
    text = "g (float[n, 128] x) => (float[n, 128] y) { [first] a = MatMul(x, w)\n [second] b = MatMul(a, v)\n [third] y = MatMul(b, w) }"
    return graph_of(folder, text)


@pytest.mark.parametrize("behind", ["Relu(b)", "Add(x, b)"])
def test_a_product_that_is_made_one_with_what_is_kept_is_in_fp32(behind, tmp_path):
    """Whose file would have integers that are turned back before anything is computed."""
    text = f"g (float[n, 128] x) => (float[n, 128] y) {{ [first] a = MatMul(x, w)\n [up] b = MatMul(a, v)\n [kept] c = {behind}\n [down] y = MatMul(c, w) }}"
    made = maker("ort", Static()).make(graph_of(tmp_path, text), lambda: iter([{"x": normal(3, 128)}]), tmp_path, Static(), ["kept"])
    assert (made.kept_float, made.integer) == (("up",), 2)


def test_a_convolution_before_what_is_kept_is_in_fp32_by_way_of_what_hands_on(tmp_path):
    made = maker("ort", Static()).make(SMALL["convolves"](tmp_path), lambda: iter(feeds_for("convolves")), tmp_path, Static(), ["wide"])
    nodes = {node.name: node for node in onnx.load(made.file).graph.node}
    clip = next(node for node in nodes.values() if nodes["wide"].input[0] in node.output)
    assert clip.op_type == "Clip" and clip.input[0] == nodes["stem"].output[0]
    assert set(made.kept_float) == {"stem", "wide"}
