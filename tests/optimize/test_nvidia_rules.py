"""Where TensorRT wants Q/DQ pairs, by its own rules; and its own parser and builder as the judge, as far as TensorRT for RTX takes them."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from small_quantized import SMALL, feeds_for, graph, normal

from mmedge.backends.tensorrt.build import build
from mmedge.backends.tensorrt.network import parse
from mmedge.optimize.made import maker
from mmedge.quantization import Static, WeightOnly

FLOAT_ONLY = {"Softmax", "LayerNormalization", "Relu", "Clip", "GlobalAveragePool", "Tanh"}


def made(options, graph, feeds, out):
    out.mkdir(exist_ok=True)
    return maker("tensorrt", options).make(graph, lambda: iter(feeds), out, options)


def constants(model):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def quantized(name, tmp_path):
    return onnx.load(made(Static(), SMALL[name](tmp_path), feeds_for(name), tmp_path / "out").file)


@pytest.mark.parametrize("name", ["attends", "convolves"])
def test_everything_is_signed_and_symmetric(name, tmp_path):
    model = quantized(name, tmp_path)
    held = constants(model)
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        scale, zero = held[node.input[1]], held[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        assert (scale > 0).all()
        weight = node.op_type == "DequantizeLinear" and node.input[0] in held
        assert (scale.ndim == 1 and scale.size > 1) if weight else scale.ndim == 0, "weights per channel, activations per tensor"
        if weight:
            assert held[node.input[0]].dtype == np.int8
            assert held[node.input[0]].min() >= -127


@pytest.mark.parametrize("name", ["attends", "convolves"])
def test_pairs_stand_before_weighted_operators_and_shortcuts_alone(name, tmp_path):
    model = quantized(name, tmp_path)
    made_by = {out: node for node in model.graph.node for out in node.output}
    fed = {node.name: [made_by[name].op_type for name in node.input if name in made_by] for node in model.graph.node}
    backs = {name: kinds.count("DequantizeLinear") for name, kinds in fed.items() if "DequantizeLinear" in kinds}
    if name == "attends":
        assert backs == {"up": 2, "down": 2}
    else:  # the stem has 3 channels: it stays in fp32; the sum has one pair, on what came around the convolutions
        assert {key: count for key, count in backs.items() if key in ("wide", "depth", "narrow", "head")} == {"wide": 2, "depth": 2, "narrow": 2, "head": 2}
        (add,) = [node for node in model.graph.node if node.op_type == "Add"]
        assert [made_by[name].op_type for name in add.input] == ["Conv", "DequantizeLinear"]
        assert sum(backs.values()) == 9
        assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == 4, "a tensor that two operators take is rounded once"
    assert not [node for node in model.graph.node if node.op_type in FLOAT_ONLY and "DequantizeLinear" in fed[node.name]]


def test_what_is_narrow_stays_in_fp32_and_is_named(tmp_path):
    text = "g (float[n, 64] x) => (float[n, 8] y) { [wide] a = MatMul(x, w)\n [thin] y = MatMul(a, thin) }"
    one = made(Static(), graph(tmp_path / "g.onnx", text, w=normal(64, 64), thin=normal(64, 8)), [{"x": normal(3, 64)}], tmp_path / "out")
    assert one.kept_float == ("thin",)
    assert one.integer == 1


def test_a_channel_of_zeros_has_a_scale(tmp_path):
    weight = normal(64, 64)
    weight[:, 3] = 0
    one = made(
        Static(), graph(tmp_path / "g.onnx", "g (float[n, 64] x) => (float[n, 64] y) { y = MatMul(x, w) }", w=weight), [{"x": normal(3, 64)}], tmp_path / "o"
    )
    held = constants(onnx.load(one.file))
    assert np.isfinite(held["w_scale"]).all()
    assert not held["w_quantized"][:, 3].any()


def test_blocks_of_4_bits_are_what_onnx_says_they_are(tmp_path):
    """onnx's evaluator unpacks them by the standard; every number is within half a step of its own."""
    weight = normal(64, 32)
    given = graph(tmp_path / "g.onnx", "g (float[n, 64] x) => (float[n, 32] y) { y = MatMul(x, w) }", w=weight)
    one = made(WeightOnly(), given, [], tmp_path / "out")
    model = onnx.load(one.file)
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 21}
    (got,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": np.eye(64, dtype=np.float32)})
    steps = np.abs(weight.reshape(2, 32, 32)).max(axis=1) / 7
    assert (np.abs(got - weight) <= np.repeat(steps, 32, axis=0) / 2 * 1.001).all()


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="wheels for Linux")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("attends", Static()),
        ("decodes", Static()),
        ("convolves", Static()),
        ("attends", WeightOnly(bits=8)),
        ("attends", WeightOnly()),
        ("decodes", WeightOnly()),
    ],
)
def test_nvidias_own_parser_and_builder_take_it(name, options, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings", exc_type=ImportError)
    given = SMALL[name](tmp_path)
    one = made(options, given, feeds_for(name), tmp_path / "out")
    shapes = {key: (array.shape,) * 3 for key, array in feeds_for(name, 1)[0].items()}
    taken = replace(given, path=one.file)
    assert parse(taken, "rtx").refusals == ()
    assert build(taken, "fp32", flavour="rtx", shapes=shapes, capability="8.6").size_bytes
