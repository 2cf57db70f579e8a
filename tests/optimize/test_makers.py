"""What every maker of quantized graphs must keep to, on graphs of a few nodes: held against fp32, and against evaluators that are not ours."""

from __future__ import annotations

import os
import sys

import numpy as np
import onnx
import onnx.reference
import pytest
from small_graphs import relative
from small_quantized import SMALL, WORDS, attends, decodes, feeds_for, graph, normal

from mmedge.errors import MmedgeError
from mmedge.need import NotInstalled
from mmedge.optimize import rounding
from mmedge.optimize.made import maker, own_bytes
from mmedge.quantization import MODULES, OPTIONS, Dynamic, Static, WeightOnly, name_of

openvino = pytest.importorskip("openvino")

DYNAMIC, STATIC, FOUR, EIGHT = Dynamic(), Static(), WeightOnly(), WeightOnly(bits=8)
ENTROPY, PERCENTILE = Static(ranges="entropy"), Static(ranges="percentile")

OVERHEAD_BYTES = {"ort": 0, "tensorrt": 0, "openvino": 100_000}
"""IR names everything in words: more than the weights of graphs of a few nodes."""

CASES = [
    ("ort", DYNAMIC, "attends", 0.03),
    ("ort", STATIC, "attends", 0.05),
    ("ort", ENTROPY, "attends", 0.15),
    ("ort", PERCENTILE, "attends", 0.05),
    ("ort", FOUR, "attends", 0.3),
    ("ort", EIGHT, "attends", 0.03),
    ("ort", DYNAMIC, "decodes", 0.03),
    ("ort", STATIC, "decodes", 0.05),
    ("ort", FOUR, "decodes", 0.25),
    ("ort", EIGHT, "decodes", 0.03),
    ("ort", STATIC, "convolves", 0.05),
    ("openvino", STATIC, "attends", 0.15),
    ("openvino", PERCENTILE, "attends", 0.15),
    ("openvino", Static(smooth=0.5), "attends", 0.05),
    ("openvino", STATIC, "convolves", 0.05),
    ("openvino", STATIC, "decodes", 0.15),
    ("openvino", FOUR, "decodes", 0.25),
    ("openvino", EIGHT, "decodes", 0.03),
    ("tensorrt", STATIC, "attends", 0.05),
    ("tensorrt", ENTROPY, "attends", 0.15),
    ("tensorrt", STATIC, "decodes", 0.05),
    ("tensorrt", STATIC, "convolves", 0.08),
    ("tensorrt", FOUR, "attends", 0.3),
    ("tensorrt", EIGHT, "attends", 0.03),
]


def made(backend, options, graph, feeds, out):
    out.mkdir(exist_ok=True)
    return maker(backend, options).make(graph, lambda: iter(feeds), out, options)


def outputs(backend, file, feeds):
    if backend != "openvino":
        return next(iter(rounding.run(file, feeds).values()))
    compiled = openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(feeds)[compiled.output(0)]


NNCF = pytest.mark.full  # to import it takes seconds
FAST = [pytest.param(*case, marks=NNCF) if case[0] == "openvino" else case for case in CASES]


@pytest.mark.parametrize(("backend", "options", "name", "bound"), FAST, ids=lambda one: name_of(one) if not isinstance(one, str | float) else str(one))
def test_a_made_graph_is_small_is_close_and_is_really_quantized(backend, options, name, bound, tmp_path):
    graph = SMALL[name](tmp_path)
    before = graph.path.read_bytes()
    one = made(backend, options, graph, feeds_for(name), tmp_path / "out")
    (held_out,) = feeds_for(name, 1, seed=99)
    distance = relative(outputs(backend, one.file, held_out), next(iter(rounding.run(graph.path, held_out).values())))
    assert 1e-6 < distance < bound
    assert one.integer
    assert one.precision == ("int4" if options is FOUR else "int8")
    assert one.size_bytes < (0.2 if options is FOUR else 0.3) * graph.size_bytes + OVERHEAD_BYTES[backend]
    assert graph.path.read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in (one.file, one.weights) if path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([graph.path.name, "out"])
    if one.file.suffix == ".onnx":
        tidy(onnx.load(one.file))


def tidy(model):
    onnx.checker.check_model(model, full_check=False)
    used = {name for node in model.graph.node for name in node.input}
    assert not [tensor.name for tensor in model.graph.initializer if tensor.name not in used]
    assert not model.graph.value_info
    assert not model.metadata_props


@pytest.mark.parametrize(("backend", "options"), [("ort", DYNAMIC), ("ort", ENTROPY), ("ort", FOUR), ("tensorrt", STATIC), ("tensorrt", FOUR)])
def test_the_same_again_is_the_same_to_the_byte(backend, options, tmp_path):
    name = "attends" if isinstance(options, Static) else "decodes"
    graph, feeds = SMALL[name](tmp_path), feeds_for(name)
    first, second = (made(backend, options, graph, feeds, tmp_path / folder).file.read_bytes() for folder in ("one", "two"))
    assert first == second


@NNCF
@pytest.mark.parametrize("options", [STATIC, FOUR], ids=name_of)
def test_the_same_again_holds_the_same_numbers_for_openvino(options, tmp_path):
    """The names of nodes count up within a process; weights and outputs do not."""
    graph, feeds = attends(tmp_path), feeds_for("attends")
    first, second = (made("openvino", options, graph, feeds, tmp_path / folder) for folder in ("one", "two"))
    assert first.weights.read_bytes() == second.weights.read_bytes()
    assert np.array_equal(outputs("openvino", first.file, feeds[0]), outputs("openvino", second.file, feeds[0]))


STANDARD = [("ort", DYNAMIC, "attends"), ("ort", STATIC, "convolves"), ("ort", DYNAMIC, "decodes"), ("tensorrt", STATIC, "convolves")]


@pytest.mark.parametrize(("backend", "options", "name"), STANDARD)
def test_onnxs_own_evaluator_computes_the_same(backend, options, name, tmp_path):
    """Graphs of standard operators mean what they say, whatever onnxruntime makes of them."""
    one = made(backend, options, SMALL[name](tmp_path), feeds_for(name), tmp_path / "out")
    (feeds,) = feeds_for(name, 1, seed=99)
    model = onnx.load(one.file)
    model.opset_import[0].version = 21  # it begins with Q/DQ of opset 19; nothing here means anything else there
    (expected,) = onnx.reference.ReferenceEvaluator(model).run(None, feeds)
    assert relative(outputs(backend, one.file, feeds), expected) < 1e-2  # a value on the edge may be rounded the other way


@pytest.mark.parametrize(
    ("backend", "options"), [("ort", DYNAMIC), ("ort", FOUR), ("ort", STATIC), pytest.param("openvino", EIGHT, marks=NNCF), ("tensorrt", EIGHT)]
)
def test_weights_in_a_file_of_their_own_are_read_and_written(backend, options, tmp_path):
    """A bundle's may have a second hard link, which onnx's own reader refuses."""
    graph = decodes(tmp_path, apart=True)
    os.link(graph.weights, tmp_path / "link.bin")
    before = graph.weights.read_bytes()
    one = made(backend, options, graph, feeds_for("decodes"), tmp_path / "out")
    assert graph.weights.read_bytes() == before
    assert one.weights.parent == one.file.parent
    assert one.weights.stat().st_size > 10 * one.file.stat().st_size
    assert own_bytes(graph) == pytest.approx(graph.size_bytes, rel=0.02)
    graph.weights.write_bytes(graph.weights.read_bytes() * 2)  # another graph's weights may lie there too
    assert own_bytes(graph) < 0.6 * graph.size_bytes
    alone = made(backend, options, decodes(tmp_path), feeds_for("decodes"), tmp_path / "alone")
    (feeds,) = feeds_for("decodes", 1, seed=99)
    assert np.array_equal(outputs(backend, one.file, feeds), outputs(backend, alone.file, feeds))


def test_a_table_that_is_multiplied_by_as_well_is_stored_once(tmp_path):
    for options in (DYNAMIC, FOUR, EIGHT):
        file = made("ort", options, decodes(tmp_path), feeds_for("decodes"), tmp_path / name_of(options)).file
        large = [tensor for tensor in onnx.load(file).graph.initializer if np.prod(tensor.dims) > 100_000]
        assert len(large) == 1, options


def test_a_row_of_a_table_is_what_it_was_but_for_its_rounding(tmp_path):
    """Looked up and multiplied by, the same numbers: the logits of a word's own vector are its products with what was stored."""
    text = f"""g (int64[n] ids) => (float[n, 128] rows, float[n, {WORDS}] products) {{
      rows = Gather(words, ids)
      turned = Transpose<perm=[1, 0]>(words)
      products = MatMul(rows, turned)
    }}"""
    words = normal(WORDS, 128)
    for options, bound in ((DYNAMIC, 0.01), (EIGHT, 0.01), (FOUR, 0.12)):
        one = made("ort", options, graph(tmp_path / "g.onnx", text, words=words), [], tmp_path / name_of(options))
        got = rounding.run(one.file, {"ids": np.arange(WORDS)})
        assert relative(got["rows"], words) < bound
        assert relative(got["products"][:50], got["rows"][:50] @ got["rows"].T) < 0.02


def test_a_range_without_outliers_is_narrower(tmp_path):
    """One value of a thousand lies far out: the rest is rounded better where it is cut off."""
    feeds = feeds_for("attends", 40)
    feeds[0]["x"][0, 0] = 500.0
    scales = {}
    for options in (STATIC, PERCENTILE):
        model = onnx.load(made("ort", options, attends(tmp_path), feeds, tmp_path / name_of(options)).file)
        scales[options.ranges] = next(onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == "x_scale")
    assert scales["minmax"] > 1.9
    assert scales["percentile"] < 0.5 * scales["minmax"]


@NNCF
def test_bad_input_is_two_lines(tmp_path):
    nothing = graph(tmp_path / "nothing.onnx", "g (float[n] x) => (float[n] y) { y = Relu(x) }")
    for backend, options in ((backend, OPTIONS[method]()) for backend, method in MODULES):
        with pytest.raises(MmedgeError, match=r"nothing\.onnx"):
            made(backend, options, nothing, [{"x": np.ones(3, np.float32)}], tmp_path / "out")
    for backend in ("ort", "openvino", "tensorrt"):
        with pytest.raises(MmedgeError, match="no feeds to measure") as no_data:
            made(backend, STATIC, attends(tmp_path), [], tmp_path / "out")
        assert "--data" in no_data.value.fix
    broken = feeds_for("attends", 2)
    broken[1]["x"][0, 0] = np.nan
    with pytest.raises(MmedgeError, match="sample 2 is not a number somewhere in x"):
        made("ort", STATIC, attends(tmp_path), broken, tmp_path / "out")
    whole = attends(tmp_path)
    whole.path.write_bytes(whole.path.read_bytes()[:1000])
    for backend, options in ((backend, OPTIONS[method]()) for backend, method in MODULES):
        with pytest.raises(MmedgeError) as refused:
            made(backend, options, whole, feeds_for("attends"), tmp_path / "out")
        assert "attends.onnx" in refused.value.what


@NNCF
def test_a_tools_refusal_names_the_node_and_its_operator(tmp_path):
    given = attends(tmp_path)
    model = onnx.load(given.path)
    strange = next(node for node in model.graph.node if node.op_type == "Relu")
    strange.name, strange.op_type, strange.domain = "strange", "Bar", "foo"
    model.opset_import.append(onnx.helper.make_opsetid("foo", 1))
    onnx.save(model, given.path)
    for backend, options in (("ort", STATIC), ("ort", DYNAMIC), ("ort", FOUR), ("tensorrt", STATIC), ("openvino", STATIC), ("openvino", EIGHT)):
        with pytest.raises(MmedgeError, match=r"attends.*\.onnx at (strange \(Bar\)|down \(MatMul\)): "):
            made(backend, options, given, feeds_for("attends"), tmp_path / "out")


def test_what_would_mostly_stay_in_fp32_is_refused_by_its_count(tmp_path):
    """Dynamic quantization has no convolutions."""
    with pytest.raises(MmedgeError, match="would mostly be fp32: 4 of 5 nodes with weights"):
        made("ort", DYNAMIC, SMALL["convolves"](tmp_path), [], tmp_path / "out")


def test_without_nncf_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(NotInstalled) as missing:
        made("openvino", STATIC, attends(tmp_path), feeds_for("attends"), tmp_path / "out")
    assert missing.value.fix == 'pip install "mmedge[quantize]"'


@NNCF
def test_a_tool_says_nothing(tmp_path, capfd):
    for backend, options in (("openvino", STATIC), ("openvino", FOUR), ("ort", ENTROPY), ("ort", DYNAMIC), ("ort", FOUR)):
        made(backend, options, attends(tmp_path), feeds_for("attends"), tmp_path / "out")
    assert capfd.readouterr() == ("", "")


@NNCF
def test_depthwise_convolutions_are_really_computed_in_8_bits_by_openvino(tmp_path):
    """Their weights lie behind a Reshape: unless that is folded, NNCF says they are quantized, and the plugin computes them in fp32."""
    assert made("openvino", STATIC, SMALL["convolves"](tmp_path), feeds_for("convolves"), tmp_path / "out").integer >= 4


def test_large_kernels_and_positions_beside_products_lie_in_8_bits_and_are_computed_in_fp32(tmp_path):
    text = """g (float[1, 512, 16] x) => (float[1, 16, 512] y) {
      [stem] a = Conv(x, kernel)
      b = Transpose<perm=[0, 2, 1]>(a)
      some = Slice(positions, from, to)
      c = Add(b, some)
      [up] d = MatMul(c, w)
      turned = Transpose<perm=[0, 2, 1]>(d)
      scores = MatMul(d, turned)
      shares = Softmax(scores)
      y = MatMul(shares, d)
    }"""
    arrays = {"kernel": normal(512, 512, 1) / 22, "positions": normal(512, 512), "w": normal(512, 512) / 22}
    arrays |= {"from": np.array([0]), "to": np.array([16])}
    given, feeds = graph(tmp_path / "g.onnx", text, **arrays), {"x": normal(1, 512, 16)}
    for options in (STATIC, DYNAMIC, EIGHT, FOUR):
        one = made("ort", options, given, [feeds], tmp_path / name_of(options))
        assert one.kept_float == ("stem",) and one.integer == 1
        stored = {tensor.name: tensor.data_type for tensor in onnx.load(one.file).graph.initializer}
        assert stored["kernel_int8"] == stored["positions_int8"] == onnx.TensorProto.INT8 and not {"kernel", "positions"} & set(stored)
        assert one.size_bytes < 0.3 * given.size_bytes
        kept = maker("ort", options).make(given, lambda: iter([feeds]), tmp_path / name_of(options), options, ["stem"])
        assert "kernel" in {tensor.name for tensor in onnx.load(kept.file).graph.initializer}
        assert relative(outputs("ort", one.file, feeds), next(iter(rounding.run(given.path, feeds).values()))) < (0.3 if options is FOUR else 0.05)
