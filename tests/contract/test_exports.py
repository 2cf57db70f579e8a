"""Every small checkpoint, exported: complete, by the rules of ONNX, within what boards read, and read by the onnxruntime that boards have."""

from __future__ import annotations

import numpy as np
import old_runtime
import onnx
import pytest
from checkpoints import discovered
from graph_rules import faults
from onnx import TensorProto, helper

from mmedge.documents import validate
from mmedge.family import load_family

pytestmark = pytest.mark.full

MAX_OPSET, MAX_IR = 18, 10
"""Of boards with JetPack 6."""
TENSOR_SCATTER_OPSET = 24


@pytest.fixture(scope="module")
def runtime():
    with old_runtime.OldRuntime() as runtime:
        yield runtime


@pytest.mark.parametrize("architecture", sorted(discovered()))  # test_nvidia.py begins at the other end: workers share the exports
def test_it_keeps_every_rule(small_bundle, runtime, architecture):
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
    assert runtime.refusals(readable, bundle.file(model.golden)) == []


def _grows(model, name):
    return any(tensor.name == "past_key_0" for tensor in model.graphs[name].inputs)


def test_the_old_runtime_refuses_what_it_cannot_read_and_what_comes_out_wrong(runtime, tmp_path):
    golden = {"graph/good/in/x": [4.0], "graph/good/out/y": [2.0], "graph/wrong/in/x": [4.0], "graph/wrong/out/y": [3.0]}
    np.savez(tmp_path / "golden.npz", **{key: np.array(value, np.float32) for key, value in golden.items()})
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Sqrt", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "good.onnx")
    model.ir_version = 99
    onnx.save(model, tmp_path / "new.onnx")
    graphs = {"good": tmp_path / "good.onnx", "wrong": tmp_path / "good.onnx", "new": tmp_path / "new.onnx"}
    wrong, new = runtime.refusals(graphs, tmp_path / "golden.npz")
    assert wrong == "wrong: y is 1 away"
    assert "Unsupported model IR version: 99" in new
