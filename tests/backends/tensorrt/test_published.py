"""NVIDIA's published lists: what they have against a graph, and that the newest parser at hand, which is not ours, agrees with them."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_graph import graph

from mmedge import onnx_file
from mmedge.backends.tensorrt.published import ADDED, OPERATORS, objections, opsets, since
from mmedge.backends.tensorrt.versions import TENSORRT, within

NOT_LISTED = ["BitShift", "Compress", "Det", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul", "SequenceAt"]
"""A few that every list of NVIDIA's answers with N."""
MISSING_IN_RTX = {"DeformConv"}
"""TensorRT-RTX 1.7.1 is another product, and lacks it."""


def against(path, version):
    return [str(one) for one in objections(onnx_file.read(path), version)]


def test_a_graph_of_listed_operators_has_nothing_against_it(tmp_path):
    path = graph(tmp_path / "g.onnx", helper.make_node("Sqrt", ["x"], ["h"]), helper.make_node("Erf", ["h"], ["y"])).path
    assert [against(path, row.low) for row in TENSORRT] == [[]] * len(TENSORRT)


@pytest.mark.parametrize(
    ("operator", "first"),
    [("TensorScatter", "10.15"), ("RMSNormalization", "10.15"), ("Attention", "10.14"), ("STFT", "10.5"), ("DeformConv", "10.1"), ("Swish", "11.0")],
)
@pytest.mark.parametrize("version", ["10.0", "10.3.0.30", "10.13.3.9", "10.14", "10.16.2.10", "11.4.1"])
def test_an_operator_is_refused_before_the_release_that_brought_it(tmp_path, operator, first, version):
    path = graph(tmp_path / "g.onnx", helper.make_node(operator, ["x"], ["y"], name="n")).path
    newer = tuple(map(int, version.split("."))) >= tuple(map(int, first.split(".")))
    assert against(path, version) == ([] if newer else [f"n ({operator}): TensorRT takes the operator from {first} on"])


@pytest.mark.parametrize("operator", [*NOT_LISTED[:2], "FromTheFuture"])
def test_an_operator_on_no_list_is_refused_always(tmp_path, operator):
    path = graph(tmp_path / "g.onnx", helper.make_node(operator, ["x"], ["y"], name="n")).path
    assert {tuple(against(path, row.low)) for row in TENSORRT} == {(f"n ({operator}): the operator is on no list of NVIDIA's",)}


def test_operators_of_a_runtimes_own_are_refused_and_told_once(tmp_path):
    nodes = [helper.make_node("MatMulNBits", [f"t{at}"], [f"t{at + 1}"], name=f"n{at}", domain="com.microsoft") for at in range(3)]
    nodes = [helper.make_node("Identity", ["x"], ["t0"]), *nodes, helper.make_node("Identity", ["t3"], ["y"])]
    (said,) = against(graph(tmp_path / "g.onnx", *nodes).path, "10.3")
    assert said == "n0 (MatMulNBits): the operator is of the domain com.microsoft, which is on no list of NVIDIA's"


@pytest.mark.parametrize("how", ["initializer", "numbers", "node"])
@pytest.mark.parametrize(("point", "taken"), [(0, True), (3, False)])
def test_a_zero_point_must_be_zero(tmp_path, how, point, taken):
    zero = numpy_helper.from_array(np.array(point, np.int8), "z") if how != "numbers" else helper.make_tensor("z", TensorProto.INT8, [], [point])
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "s")
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="n"), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="m")]
    if how == "node":
        nodes.insert(0, helper.make_node("Constant", [], ["z"], value=zero))
    path = graph(tmp_path / "g.onnx", *nodes, constants=[scale] if how == "node" else [scale, zero]).path
    said = [
        f"{name} ({operator}): its zero point is not 0, which NVIDIA's lists ask for" for name, operator in (("n", "QuantizeLinear"), ("m", "DequantizeLinear"))
    ]
    assert {tuple(against(path, row.low)) for row in TENSORRT} == {() if taken else tuple(said)}


@pytest.mark.parametrize(("version", "taken"), [("10.3.0.30", False), ("10.6", False), ("10.7", True), ("11.4.1", True)])
@pytest.mark.parametrize("computed", [True, False])
def test_axes_had_to_be_constants(tmp_path, version, taken, computed):
    constant = numpy_helper.from_array(np.array([0]), "zero")
    inputs = {"x": ("float32", ("n",)), "at": ("int64", (1,))}
    axes = helper.make_node("Add", ["at" if computed else "zero", "zero"], ["axes"])
    path = graph(tmp_path / "g.onnx", axes, helper.make_node("Unsqueeze", ["x", "axes"], ["y"], name="n"), inputs=inputs, constants=[constant]).path
    refused = computed and not taken
    assert against(path, version) == (["n (Unsqueeze): its axes are computed, which TensorRT takes from 10.7 on"] if refused else [])


@pytest.mark.parametrize(
    ("attributes", "version", "refused"), [({}, "10.3", False), ({"reduction": "none"}, "10.3", True), ({"reduction": "none"}, "10.9", False)]
)
def test_a_scatter_that_names_a_reduction(tmp_path, attributes, version, refused):
    inputs = {"x": ("float32", ("n",)), "at": ("int64", (1, 1)), "new": ("float32", (1,))}
    path = graph(tmp_path / "g.onnx", helper.make_node("ScatterND", ["x", "at", "new"], ["y"], name="n", **attributes), inputs=inputs).path
    assert bool(against(path, version)) == refused


@pytest.mark.parametrize(
    ("version", "opset", "taken"),
    [("10.3", 18, True), ("10.3", 20, True), ("10.3", 21, False), ("10.3", 8, False), ("10.13.3.9", 24, False), ("10.16.2.10", 24, True), ("11.5", 25, True)],
)
def test_opsets(tmp_path, version, opset, taken):
    path = graph(tmp_path / "g.onnx", helper.make_node("Sqrt", ["x"], ["y"])).path
    model = onnx_file.read(path)
    model.opset_import[0].version = opset
    assert bool(objections(model, version)) != taken
    assert opsets(version).least <= 18 <= opsets(version).most


@pytest.mark.parametrize(
    ("version", "opset", "taken"), [("10.0", 21, True), ("10.3.0.30", 21, True), ("10.3", 22, False), ("10.14", 24, True), ("11.5", 25, True)]
)
def test_weights_of_4_bits_may_need_an_opset_beyond_the_list(tmp_path, version, opset, taken):
    """The list of 10.0 ends at 20 and has INT4, which ONNX has only from 21 on."""
    weight = helper.make_tensor("w", TensorProto.INT4, [2, 4], bytes(4), raw=True)
    scale = numpy_helper.from_array(np.ones((1, 4), np.float32), "s")
    nodes = [helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=0, block_size=2), helper.make_node("Add", ["x", "d"], ["y"])]
    model = onnx_file.read(graph(tmp_path / "g.onnx", *nodes, constants=[weight, scale]).path)
    model.opset_import[0].version = opset
    assert bool(objections(model, version)) != taken


@pytest.mark.parametrize(("version", "taken"), [("10.3.0.30", False), ("10.8", False), ("10.9", True)])
def test_what_opset_21_changed_is_taken_later(tmp_path, version, taken):
    weight = helper.make_tensor("w", TensorProto.INT4, [2], bytes(1), raw=True)
    path = graph(tmp_path / "g.onnx", helper.make_node("GroupNormalization", ["x", "s", "b"], ["y"], name="n"), constants=[weight]).path
    model = onnx_file.read(path)
    model.opset_import[0].version = 21
    told = [str(one) for one in objections(model, version)]
    assert told == ([] if taken else ["n (GroupNormalization): as opset 21 has it, TensorRT takes it from 10.9 on"])


def test_releases_are_in_order_and_known():
    order = [tuple(map(int, one.since.split("."))) for one in ADDED]
    assert order == sorted(order)
    assert all(any(within(one.since, row.low, row.high) for row in TENSORRT) for one in ADDED)
    assert not {operator for one in ADDED for operator in one.operators} & OPERATORS


@pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorRT for RTX has wheels for x86-64 only")
def test_the_newest_parser_at_hand_agrees_with_the_lists():
    from mmedge.backends.tensorrt import flavour

    trt, builder = flavour.load("rtx"), flavour.builder("rtx")
    parser = trt.OnnxParser(builder.create_network(0), flavour.log("rtx"))
    listed = OPERATORS | {operator for one in ADDED for operator in one.operators}
    assert {one for one in listed if not parser.supports_operator(one)} == MISSING_IN_RTX
    assert [one for one in NOT_LISTED if parser.supports_operator(one) or since(one)] == []
