"""Where TensorRT wants Q/DQ pairs, by its own rules; and its own parser and builder as the judge, as far as TensorRT for RTX takes them."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from small_graphs import relative
from small_quantized import SMALL, feeds_for, graph, normal

from mmedge.backends.tensorrt.build import build
from mmedge.backends.tensorrt.network import parse, types
from mmedge.optimize import fp16
from mmedge.optimize.made import maker
from mmedge.optimize.opening import opened
from mmedge.optimize.rounding import run
from mmedge.quantization import Static, WeightOnly
from mmedge.runner import Candidate
from mmedge.target import Target

BLOCKS = WeightOnly(block_size=64)
FLOAT_ONLY = {"Softmax", "LayerNormalization", "Relu", "Clip", "GlobalAveragePool", "Tanh"}


def made(options, graph, feeds, out):
    out.mkdir(exist_ok=True)
    return maker("tensorrt", options).make(graph, lambda: iter(feeds), out, options)


def halved(graph, *keep):
    """With its variant in fp16, as a bundle for NVIDIA has it."""
    path = graph.path.with_name("half.onnx")
    fp16.half(graph.path, path, keep_float=keep)
    return replace(graph, variants={"fp16": replace(graph, path=path, precision="fp16", weights=None)})


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
    else:  # the sum has one pair, on what came around the convolutions
        assert {key: backs[key] for key in ("stem", "wide", "depth", "narrow", "head")} == dict.fromkeys(("stem", "wide", "depth", "narrow", "head"), 2)
        (add,) = [node for node in model.graph.node if node.op_type == "Add"]
        assert [made_by[name].op_type for name in add.input] == ["Conv", "DequantizeLinear"]
        assert sum(backs.values()) == 11
        assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == 5, "a tensor that two operators take is rounded once"
    assert not [node for node in model.graph.node if node.op_type in FLOAT_ONLY and "DequantizeLinear" in fed[node.name]]


def test_what_is_narrow_stays_in_fp32_and_is_named(tmp_path):
    text = "g (float[n, 64] x) => (float[n, 8] y) { [wide] a = MatMul(x, w)\n [thin] y = MatMul(a, thin) }"
    one = made(Static(), graph(tmp_path / "g.onnx", text, w=normal(64, 64), thin=normal(64, 8)), [{"x": normal(3, 64)}], tmp_path / "out")
    assert one.kept_float == ("thin",)
    assert one.integer == 1


@pytest.mark.parametrize(
    ("weight", "options", "rounded"),
    [
        ((16, 3, 3, 3), "", True),
        ((12, 3, 3, 3), "", False),
        ((20, 3, 3, 3), "", False),
        ((16, 3, 3, 5), "", False),
        ((32, 1, 3, 3), "group=32", True),
        ((32, 1, 1, 1), "group=32", False),
        ((36, 1, 3, 3), "group=36", False),
        ((32, 16, 1, 1), "group=2", True),
    ],
)
def test_small_convolutions_are_rounded_where_there_are_kernels(weight, options, rounded, tmp_path):
    """The rules of NVIDIA's ModelOpt, by its own tables of channels and sides."""
    groups = int(options.partition("=")[2] or 1)
    attributes = f"<{options}>" if options else ""
    text = f"g (float[n, {weight[1] * groups}, 8, 8] x) => (float[n, 64, h, w] y) {{ [small] a = Conv{attributes}(x, k)\n [on] y = Conv(a, k2) }}"
    given = graph(tmp_path / "g.onnx", text, k=normal(*weight), k2=normal(64, weight[0], 3, 3))
    assert ("small" not in made(Static(), given, [{"x": normal(2, weight[1] * groups, 8, 8)}], tmp_path / "o").kept_float) == rounded


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
    weight = normal(128, 32)
    given = graph(tmp_path / "g.onnx", "g (float[n, 128] x) => (float[n, 32] y) { y = MatMul(x, w) }", w=weight)
    one = made(BLOCKS, given, [], tmp_path / "out")
    model = onnx.load(one.file)
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 21}
    (got,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": np.eye(128, dtype=np.float32)})
    steps = np.abs(weight.reshape(2, 64, 32)).max(axis=1) / 7
    assert (np.abs(got - weight) <= np.repeat(steps, 64, axis=0) / 2 * 1.002).all()


def test_what_tensorrt_cannot_pack_stays_as_it_is(tmp_path):
    """Its parser refuses INT4 with an odd last dimension (onnx-tensorrt 10.1, onnxOpImporters.cpp)."""
    text = "g (float[n, 128] x) => (float[n, 33] y) { [even] a = MatMul(x, w)\n [odd] y = MatMul(a, odd) }"
    given = graph(tmp_path / "g.onnx", text, w=normal(128, 128), odd=normal(128, 33))
    assert made(BLOCKS, given, [], tmp_path / "out").kept_float == ("odd",)


@pytest.mark.parametrize(
    ("name", "options", "opset"), [("attends", Static(), 19), ("convolves", Static(), 19), ("attends", BLOCKS, 21), ("decodes", BLOCKS, 21)]
)
def test_the_rest_is_in_fp16_where_the_graph_can_be(name, options, opset, tmp_path):
    """By onnx's evaluator, which computes in fp16 what is in fp16: as far from fp32 as with the rest in fp32."""
    given, feeds = SMALL[name](tmp_path), feeds_for(name)
    plain = made(options, given, feeds, tmp_path / "plain")
    one = made(options, halved(given), feeds, tmp_path / "out")
    assert (one.precision, one.kept_float, one.integer) == (plain.precision, plain.kept_float, plain.integer)
    model, held = onnx.load(one.file), constants(onnx.load(one.file))
    onnx.checker.check_model(model, full_check=True)
    assert [found.version for found in model.opset_import] == [opset]
    assert not [key for key, array in held.items() if array.dtype == np.float32]
    made_by = {out: node for node in model.graph.node for out in node.output}
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert {made_by[node.input[0]].op_type if node.input[0] in made_by else "" for node in casts}.isdisjoint({"DequantizeLinear", "QuantizeLinear"})
    (expected,), (rough,) = (run(path, feeds[0]).values() for path in (given.path, plain.file))
    (got,) = onnx.reference.ReferenceEvaluator(model).run(None, feeds[0])
    assert got.dtype == np.float32
    assert 0 < relative(got, rough) < 1e-2
    assert relative(got, expected) < 1.1 * relative(rough, expected) < 0.3


def test_what_the_variant_keeps_in_fp32_stays_there(tmp_path):
    given, feeds = SMALL["attends"](tmp_path), feeds_for("attends")
    model = onnx.shape_inference.infer_shapes(onnx.load(made(Static(), halved(given, "LayerNormalization", "down"), feeds, tmp_path / "out").file))
    declared = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}
    assert declared["b"] == onnx.TensorProto.FLOAT
    assert declared["a"] == declared["active"] == declared["mixed"] == onnx.TensorProto.FLOAT16
    made_by = {out: node for node in model.graph.node for out in node.output}
    assert made_by["y"].op_type == "LayerNormalization"
    (down,) = [node for node in model.graph.node if node.name == "down"]
    assert [made_by[key].op_type for key in down.input] == ["DequantizeLinear"] * 2, "no Cast between: TensorRT would not see a product of integers"


def test_it_is_judged_by_what_its_pairs_say(tmp_path):
    """onnxruntime makes operators of integers of them, which on the CPU are wrong for some graphs whose scales are in fp16: its stand-in does not."""
    text = "g (float[n, 32, 4, 4] x) => (float[n, 32, 4, 4] y) { [one] a = Conv(x, k, b)\n [two] y = Conv(a, l, b) }"
    given = graph(tmp_path / "g.onnx", text, k=normal(32, 32, 1, 1), l=normal(32, 32, 1, 1, seed=1), b=normal(32))
    feeds = {"x": normal(1, 32, 4, 4)}
    one = made(Static(), halved(given), [feeds], tmp_path / "o")
    exact, fused = run(one.file, feeds)["y"], run(one.file, feeds, optimise=True)["y"]
    with opened("tensorrt", Candidate(replace(given, path=one.file, precision="int8"), "int8"), Target.load("jetson")) as runner:
        got = runner.run(feeds)["y"]
    assert relative(got, exact) < 1e-5 < relative(fused, exact)


def test_scales_are_numbers_of_fp16_and_reach_the_largest(tmp_path):
    """A scale that fp16 rounds to 0 is refused by TensorRT's parser, and one that is rounded down cuts the largest number off."""
    weight = normal(64, 64) * np.logspace(-9, 3, 64, dtype=np.float32)
    text = "g (float[n, 64] x) => (float[n, 64] y) { y = MatMul(x, w) }"
    one = made(Static(), graph(tmp_path / "g.onnx", text, w=weight), [{"x": normal(3, 64)}], tmp_path / "o")
    held = constants(onnx.load(one.file))
    for scale in (held["w_scale"], held["x_scale"]):
        assert (scale.astype(np.float16).astype(np.float32) == scale).all() and (scale > 0).all()
    assert (held["w_scale"] * 127 >= np.abs(weight).max(axis=0) * (1 - 1e-6)).all()
    assert (np.abs(held["w_quantized"] * held["w_scale"] - weight) <= held["w_scale"] / 2 * (1 + 1e-6)).all()


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="wheels for Linux")
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("attends", Static()),
        ("decodes", Static()),
        ("convolves", Static()),
        ("attends", WeightOnly(bits=8)),
        ("attends", BLOCKS),
        ("decodes", BLOCKS),
    ],
)
def test_nvidias_own_parser_and_builder_take_it(name, options, half, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings", exc_type=ImportError)
    given = halved(SMALL[name](tmp_path)) if half else SMALL[name](tmp_path)
    one = made(options, given, feeds_for(name), tmp_path / "out")
    shapes = {key: (array.shape,) * 3 for key, array in feeds_for(name, 1)[0].items()}
    taken = replace(given, path=one.file)
    parsed = parse(taken, "rtx")
    assert parsed.refusals == ()
    found = types(parsed.network)
    assert found[one.precision] and ("fp16" in found, "fp32" in found) == (half, not half)
    assert build(taken, one.precision, flavour="rtx", shapes=shapes, capability="8.6").size_bytes
