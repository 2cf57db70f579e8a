"""Every small checkpoint, exported: complete, by the rules of ONNX, within what boards read, and read by the onnxruntime that boards have."""

from __future__ import annotations

import numpy as np
import old_runtime
import onnx
import pytest
from checkpoints import discovered
from graph_rules import faults
from onnx import TensorProto, helper, numpy_helper

from mmedge.documents import validate
from mmedge.family import load_family

MAX_OPSET, MAX_IR = 18, 10
"""Of boards with JetPack 6."""
TENSOR_SCATTER_OPSET = 24


@pytest.mark.full
@pytest.mark.parametrize("architecture", sorted(discovered()))  # test_nvidia.py begins at the other end: workers share the exports
def test_it_keeps_every_rule(small_bundle, architecture):
    bundle = small_bundle(architecture)
    ((role, model),) = bundle.manifest.models.items()
    family = load_family(model.family)
    config = validate(model.config, family.Config, role)
    paths = {name: bundle.graph(role, name).path for name in model.graphs}
    plain = {name for name in paths if not name.endswith(("-scatternd", "-tensorscatter"))}

    assert plain == set(family.graphs(config))
    assert set(model.assets) == set(family.assets(config))
    forms = ("scatternd", "tensorscatter") if architecture in family.ARCHITECTURES[:1] else ("scatternd",)
    if model.family != "auto":  # transformers' exporter, which it uses, writes caches that grow
        assert {f"{name}-{form}" for name in plain if _grows(model, name) for form in forms} == paths.keys() - plain
    for name, path in paths.items():
        proto = onnx.load(path, load_external_data=False)
        assert faults(proto) == [], name
        newest = TENSOR_SCATTER_OPSET if name.endswith("-tensorscatter") else MAX_OPSET
        assert (model.graphs[name].opset, model.graphs[name].ir) == (proto.opset_import[0].version, proto.ir_version)
        assert proto.opset_import[0].version <= newest and proto.ir_version <= MAX_IR, name
    readable = {name: path for name, path in paths.items() if model.graphs[name].opset <= old_runtime.MAX_OPSET}
    assert readable.keys() >= plain
    assert old_runtime.refusals(readable, bundle.file(model.golden)) == []


def _grows(model, name):
    return any(tensor.name == "past_key_0" for tensor in model.graphs[name].inputs)


def _graph(*nodes, inputs=("x",), outputs=("y",), weights=()):
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in side] for side in (inputs, outputs)]
    tensors = [numpy_helper.from_array(np.ones(1, np.float32), name) for name in weights]
    return helper.make_model(helper.make_graph(nodes, "g", *values, tensors), opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _node(kind, inputs, outputs, **settings):
    return helper.make_node(kind, inputs.split(), outputs.split(), **settings)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (_graph(_node("Sqrt", "x", "y")), []),
        (_graph(_node("Split", "x", "part_0 part_1", num_outputs=2), outputs=("part_0", "part_1")), []),
        (_graph(_node("Sqrt", "x", "a"), _node("Neg", "x", "a"), _node("Add", "a a", "y")), ["two outputs are named a"]),
        (_graph(_node("Split", "x", "y linear_25", num_outputs=2), outputs=("y", "linear_25")), ["output linear_25 has no name of its own"]),
        (_graph(_node("Split", "x", "part_0 part_2", num_outputs=2), outputs=("part_0", "part_2")), ["output part_0 has no name of its own"] * 2),
        (_graph(_node("Sqrt", "x", "0"), outputs=("0",)), ["output 0 has no name of its own"]),
        (_graph(_node("Sqrt", "w", "y"), weights=("w",)), ["output y depends on no input", "input x reaches no output"]),
        (_graph(_node("Sqrt", "x", "y"), inputs=("x", "z")), ["input z reaches no output"]),
        (_graph(_node("FusedMatMul", "x x", "y", domain="com.microsoft")), ["operator FusedMatMul is of the domain com.microsoft"]),
    ],
)
def test_the_rules_find_what_breaks_them(model, said):
    found = faults(model)
    assert len(found) == len(said)
    assert not said or found[0] == said[0]


@pytest.mark.full
def test_the_old_runtime_refuses_what_it_cannot_read_and_what_comes_out_wrong(tmp_path):
    golden = {"graph/good/in/x": [4.0], "graph/good/out/y": [2.0], "graph/wrong/in/x": [4.0], "graph/wrong/out/y": [3.0]}
    np.savez(tmp_path / "golden.npz", **{key: np.array(value, np.float32) for key, value in golden.items()})
    model = _graph(_node("Sqrt", "x", "y"))
    onnx.save(model, tmp_path / "good.onnx")
    model.ir_version = 99
    onnx.save(model, tmp_path / "new.onnx")
    graphs = {"good": tmp_path / "good.onnx", "wrong": tmp_path / "good.onnx", "new": tmp_path / "new.onnx"}
    wrong, new = old_runtime.refusals(graphs, tmp_path / "golden.npz")
    assert wrong == "wrong: y is 1 away"
    assert "Unsupported model IR version: 99" in new
