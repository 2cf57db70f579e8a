"""Quantized graphs in a bundle: several of one precision side by side, opened by the runtime that each was made for."""

from __future__ import annotations

import pytest
from small_graphs import relative
from small_quantized import decodes, feeds_for

from mmedge import manifest
from mmedge.bundle import Bundle
from mmedge.optimize import rounding
from mmedge.optimize.made import keep, maker
from mmedge.quantization import Dynamic, Static, WeightOnly
from mmedge.target import Target

CPU = Target(name="cpu-both", summary="", backends=("openvino", "ort"), max_opset=18, max_ir=10)
WAYS = [("ort", Dynamic()), ("ort", Static()), ("openvino", WeightOnly(bits=8)), ("openvino", WeightOnly())]


@pytest.mark.full
@pytest.mark.parametrize("apart", [False, True], ids=["one file", "weights apart"])
def test_each_is_opened_where_it_was_placed(apart, toy_bundle, tmp_path):
    pytest.importorskip("nncf")
    graph = decodes(tmp_path, apart=apart)
    (feeds,) = feeds_for("decodes", 1)
    (tmp_path / "out").mkdir()
    with Bundle.writing(toy_bundle) as bundle:
        model = bundle.manifest.models["eyes"]
        made = [(backend, maker(backend, options).make(graph, lambda: iter([feeds]), tmp_path / "out", options)) for backend, options in WAYS]
        variants = tuple(keep(bundle, "eyes", "decodes", one, backend, 0.5) for backend, one in made)
        specs = {
            side: tuple(manifest.Tensor(name=one.name, dtype=one.dtype, shape=one.shape) for one in getattr(graph, side)) for side in ("inputs", "outputs")
        }
        weights = bundle.add("eyes", "weights.bin", graph.weights) if graph.weights else None
        entry = manifest.Graph(file=bundle.add("eyes", "d.onnx", graph.path), weights=weights, opset=18, ir=10, reference="itself", variants=variants, **specs)
        models = {"eyes": model.model_copy(update={"graphs": {**model.graphs, "decodes": entry}})}
        bundle.manifest = bundle.manifest.model_copy(update={"models": models})
        bundle.commit()
    assert not Bundle.open(toy_bundle).orphans()
    names = [variant.name for variant in variants]
    assert names == ["ort dynamic", "ort static-minmax", "openvino weight-only-8", "openvino weight-only-4"]
    assert list(Bundle.open(toy_bundle).graph("eyes", "decodes").variants) == names
    expected = rounding.run(graph.path, feeds)["logits"]
    for variant, (backend, one) in zip(variants, made):
        bundle = Bundle.open(toy_bundle)
        placed = manifest.Placement(state="ready", backend=backend, precision=one.precision, reason="", made_of=variant.file.sha256)
        bundle.manifest = bundle.manifest.model_copy(update={"engines": {CPU.name: {"eyes/decodes": placed}}})
        with bundle.runner("eyes", "decodes", CPU) as runner:
            got, executed = runner.run(feeds)["logits"], runner.executed()
        assert 1e-4 < relative(got, expected) < 0.25
        assert runner.inputs == graph.inputs and executed["precision"] == one.precision


def test_what_is_fp16_keeps_its_name():
    plain = {"file": manifest.File(path="a.onnx", sha256="0" * 64, size_bytes=1), "method": "by hand", "drift": 0.1}
    assert manifest.Variant(precision="fp16", **plain).name == "fp16"
    assert manifest.Variant(precision="int8", backend="ort", **plain).name == "ort by hand"
