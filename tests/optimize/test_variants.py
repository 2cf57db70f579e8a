from __future__ import annotations

import shutil

import numpy as np
import onnx
import pytest
from small_graphs import write

from mmedge import manifest
from mmedge.bundle import Bundle, sha256_of
from mmedge.optimize import fp16, rounding
from mmedge.optimize.variants import HEADROOM, LADDER, add_variant

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


class Golden:
    """Feeds and what the fp32 graph itself makes of them."""

    def __init__(self, path, feeds):
        self._feeds, self._reference = feeds, rounding.run(path, feeds)

    def graph(self, key):
        return self._feeds, self._reference


@pytest.fixture
def added(toy_bundle, tmp_path):
    """Text of a graph, its feeds and constants -> what add_variant makes of it, and the bundle."""

    def made(text, feeds, **constants):
        path = write(tmp_path / "graph.onnx", text, **constants)
        with Bundle.writing(toy_bundle) as bundle:
            model = bundle.manifest.models["eyes"]
            outputs = [value.name for value in onnx.load(path).graph.output]
            entry = manifest.Graph(
                file=bundle.add("eyes", "graph.onnx", path),
                inputs=[manifest.Tensor(name=name, dtype=str(value.dtype), shape=value.shape) for name, value in feeds.items()],
                outputs=[manifest.Tensor(name=name, dtype="float32", shape=()) for name in outputs],
                opset=18,
                ir=10,
                reference="itself",
            )
            changed = model.model_copy(update={"graphs": {**model.graphs, "graph": entry}})
            bundle.manifest = bundle.manifest.model_copy(update={"models": {"eyes": changed}})
            return add_variant(bundle, "eyes", "graph", "fp16", Golden(path, feeds)), bundle

    return made


def test_what_holds_in_fp16_is_stored_with_its_drift(added):
    variant, bundle = added("g (float[n, 64] x) => (float[n, 64] y) { h = MatMul(x, w)\n y = Relu(h) }", {"x": normal(4, 64)}, w=normal(64, 64))
    assert variant.precision == "fp16"
    assert variant.method == LADDER[0].method
    assert variant.kept_float == ()
    assert 0 < variant.drift < 0.2
    assert variant.weights is None
    path = bundle.file(variant.file)
    assert path.name.startswith("graph-fp16.")
    assert [tensor.data_type for tensor in onnx.load(path).graph.initializer] == [onnx.TensorProto.FLOAT16]


def test_a_norm_whose_squares_leave_the_range_stays_in_fp32(added):
    """onnxruntime's CPU gives the right answer for a graph that would be infinite where fp16 is stored: it is no judge of this."""
    text = """g (float[n, 64] x) => (float[n, 64] y) {
      large = Mul(x, thousand)
      square = Pow(large, two)
      mean = ReduceMean<keepdims=1>(square, last)
      root = Sqrt(mean)
      y = Div(large, root)
    }"""
    variant, bundle = added(text, {"x": normal(4, 64)}, thousand=np.float32(1000), two=np.float32(2), last=np.array([-1]))
    assert variant.method == LADDER[1].method
    assert variant.kept_float == ("Pow", "ReduceMean", "Sqrt")
    path = bundle.file(bundle.manifest.models["eyes"].graphs["graph"].file)
    fp16.half(path, path.with_name("all.onnx"))
    feeds = {"x": np.ones((1, 64), np.float32)}
    assert rounding.run(path.with_name("all.onnx"), feeds, optimise=True)["y"][0, 0] == pytest.approx(1, abs=1e-2)
    (stored,) = rounding.stored(path.with_name("all.onnx"), path.with_name("rounded.onnx"), feeds, 1)
    assert stored["y"][0, 0] == 0  # 1000 / infinity


OUTLIER = """g (float[n, 64] x) => (float[n, 64] y) {
  a = MatMul(x, w)
  [outlier] big = MatMul(a, w2)
  normed = LayerNormalization<axis=-1>(big, scale)
  y = MatMul(normed, w)
}"""


def test_a_node_with_outliers_stays_in_fp32_by_its_name(added):
    many = {"w": normal(64, 64) / 8, "w2": normal(64, 64) * 30000, "scale": normal(64)}
    variant, _ = added(OUTLIER, {"x": normal(4, 64)}, **many)
    assert variant.method == LADDER[2].method
    assert variant.kept_float == ("LayerNormalization", "outlier")
    assert variant.drift <= 1


def test_what_only_just_fits_is_not_trusted(added):
    """Golden inputs are few: the largest value is near 40000 here, and is on other inputs beyond 65504."""
    x = normal(4, 64)
    weight = normal(64, 64)
    many = {"w": np.eye(64, dtype=np.float32), "w2": weight * (40000 / np.abs(x @ weight).max()), "scale": normal(64)}
    variant, _ = added(OUTLIER, {"x": x}, **many)
    assert "outlier" in variant.kept_float
    assert HEADROOM * 40000 > fp16.HALF_MAX


def test_where_nothing_holds_a_gate_says_by_how_much(added):
    text = "g (float[n, 64] x) => (float[n, 64] y) { a = MatMul(x, w)\n b = MatMul(x, near)\n y = Sub(a, b) }"
    weight = normal(64, 64)
    gate, bundle = added(text, {"x": normal(4, 64)}, w=weight, near=weight * np.float32(1.001))
    assert isinstance(gate, manifest.Gate)
    assert gate.name == "fp16 eyes/graph"
    assert not gate.passed
    assert gate.value > 1
    assert gate.note == "outside the bound even where only matrix products and convolutions are in fp16"
    assert not list(bundle.path.rglob("*fp16*"))
    assert not list(bundle.path.glob(".scratch-*"))


def test_a_rung_that_only_just_holds_gives_way_to_one_that_surely_does(added, monkeypatch):
    """Hardware adds up in another order. The distances are made up: what is held here is which rung is taken for them."""
    text = "g (float[n, 64] x) => (float[n, 64] y) { h = MatMul(x, w)\n s = Softmax(h)\n y = Relu(s) }"
    for distances, taken in (((0.9, 0.5, 0.2), 1), ((0.9, 0.95, 0.85), 2), ((0.85, 0.9, 2.0), 0), ((0.7, 0.1, 0.1), 0)):
        left = iter(distances)
        monkeypatch.setattr("mmedge.optimize.variants.held", lambda *given, left=left: next(left))
        variant, bundle = added(text, {"x": normal(4, 64)}, w=normal(64, 64))
        assert variant.drift == distances[taken]
        assert variant.method == LADDER[(0, 1, 3)[taken]].method  # nothing is large here: the third is the second again
        assert variant.kept_float == ((), ("Relu", "Softmax")[1:], ("Relu", "Softmax"))[taken]
        assert bundle.file(variant.file).is_file()


def test_a_graph_without_float_has_nothing_to_halve(added):
    gate, _ = added("g (int64[n] x) => (float[n] y) { y = Cast<to=1>(x) }", {"x": np.arange(1, 4)})
    assert (gate.passed, gate.value, gate.note) == (False, None, "no part of it can be in fp16")


def test_what_cannot_be_converted_is_a_gate_with_the_reason(toy_bundle):
    bundle = Bundle.open(toy_bundle)
    model = bundle.manifest.models["eyes"]
    path = toy_bundle / model.graphs["image_encoder"].file.path
    proto = onnx.load(path)
    proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    proto.graph.node[-1].op_type, proto.graph.node[-1].domain = "Theirs", "com.microsoft"
    del proto.graph.node[-1].input[1]
    entry = model.graphs["image_encoder"].model_copy(update={"file": bundle.add("eyes", "other.onnx", proto.SerializeToString())})
    bundle.manifest = bundle.manifest.model_copy(update={"models": {"eyes": model.model_copy(update={"graphs": {"image_encoder": entry}})}})
    gate = add_variant(bundle, "eyes", "image_encoder", "fp16", Golden(path, {"pixel_values": np.ones((1, 3, 8, 8), np.float32)}))
    assert isinstance(gate, manifest.Gate)
    assert "Theirs of com.microsoft" in gate.note


def test_precisions_that_nobody_makes_are_a_gate(toy_bundle):
    gate = add_variant(Bundle.open(toy_bundle), "eyes", "image_encoder", "int8", None)
    assert (gate.passed, gate.note) == (False, "mmedge makes no int8 graphs")


def test_a_variant_that_is_there_is_not_made_again(added):
    variant, bundle = added("g (float[n, 64] x) => (float[n, 64] y) { y = MatMul(x, w) }", {"x": normal(4, 64)}, w=normal(64, 64))
    model = bundle.manifest.models["eyes"]
    graphs = {**model.graphs, "graph": model.graphs["graph"].model_copy(update={"variants": (variant,)})}
    bundle.manifest = bundle.manifest.model_copy(update={"models": {"eyes": model.model_copy(update={"graphs": graphs})}})
    assert add_variant(bundle, "eyes", "graph", "fp16", None) is variant
    assert bundle.graph("eyes", "graph").variants["fp16"].path == bundle.file(variant.file)


def _forms(small_bundle, tmp_path, architecture):
    folder = shutil.copytree(small_bundle(architecture).path, tmp_path / "copy.bundle")
    return Bundle.open(folder)


@pytest.mark.full
def test_the_forms_of_a_decoder_share_one_file_of_weights(small_bundle, tmp_path):
    from mmedge.evaluate.golden import Golden as Stored

    bundle = _forms(small_bundle, tmp_path, "WhisperForConditionalGeneration")
    ((role, model),) = bundle.manifest.models.items()
    keys = [key for key in model.graphs if key.startswith("decoder")]
    assert len(keys) > 1
    made = {key: add_variant(bundle, role, key, "fp16", Stored(bundle, role)) for key in keys}
    files = {variant.weights for variant in made.values()}
    (file,) = files
    assert sha256_of(bundle.path / file.path) == file.sha256
    assert file.size_bytes <= model.graphs[keys[0]].weights.size_bytes / 2 + 4096 * 50
    assert len(list(bundle.path.rglob("weights-fp16*"))) == 1
    graphs = {key: graph.model_copy(update={"variants": (made[key],)} if key in made else {}) for key, graph in model.graphs.items()}
    bundle.manifest = bundle.manifest.model_copy(update={"models": {role: model.model_copy(update={"graphs": graphs})}})
    bundle.commit()
    assert not set(bundle.orphans()) & {bundle.path / variant.file.path for variant in made.values()}
    encoder = add_variant(bundle, role, "encoder", "fp16", Stored(bundle, role))
    assert encoder.weights == file
    for key, variant in made.items():
        feeds, reference = Stored(bundle, role).graph(key)
        assert rounding.run(bundle.file(variant.file), feeds).keys() == reference.keys()
