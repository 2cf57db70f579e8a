"""What a check says of each tensor, and of what it could not run."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tampering import edit, swap

from mmedge.bundle import Bundle
from mmedge.deploy.check import _judge, check
from mmedge.errors import GateFailed
from mmedge.evaluate.drift import drift, drifts
from mmedge.target import Target

CPU = Target.load("cpu")
GRAPH = ("models", "eyes", "graphs", "image_encoder")


def quiet(line):
    pass


@pytest.fixture
def two_outputs(toy_bundle):
    """The toy with a second output, and golden data for both; ``damage`` shifts what the graph gives there."""

    def made(damage=0.0):
        bundle = Bundle.open(toy_bundle)
        entry = bundle.manifest.models["eyes"]
        model = onnx.load(str(bundle.file(entry.graphs["image_encoder"].file)))
        model.graph.node.append(helper.make_node("Add", ["mean", "shift"], ["pooled"]))
        model.graph.initializer.append(helper.make_tensor("shift", TensorProto.FLOAT, [], [damage]))
        model.graph.output.append(helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["batch", 3, 1, 1]))
        swap(toy_bundle, (*GRAPH, "file"), model.SerializeToString())
        manifest = json.loads((toy_bundle / "manifest.json").read_text())
        outputs = manifest["models"]["eyes"]["graphs"]["image_encoder"]["outputs"]
        edit(toy_bundle, (*GRAPH, "outputs"), [*outputs, {"name": "pooled", "dtype": "float32", "shape": ["batch", 3, 1, 1]}])
        path = bundle.file(entry.golden)
        arrays = dict(np.load(path))
        arrays["graph/image_encoder/out/pooled"] = arrays["graph/image_encoder/in/pixel_values"].mean((2, 3), keepdims=True)
        np.savez(path, **arrays)
        swap(toy_bundle, ("models", "eyes", "golden"), path.read_bytes())
        return toy_bundle

    return made


def graph_gate(bundle):
    return next(gate for gate in Bundle.open(bundle).manifest.gates["check cpu"] if gate.name == "graph eyes/image_encoder")


def test_every_output_has_its_drift(two_outputs):
    made = check(two_outputs(), CPU, quiet)
    gate = graph_gate(made.path)
    assert gate.outputs.keys() == {"image_embedding", "pooled"}
    assert gate.value == max(gate.outputs.values()) < 1.0
    assert gate.note.startswith("max_abs of ")


def test_the_worst_output_is_named(two_outputs):
    bundle = two_outputs(damage=0.01)
    with pytest.raises(GateFailed, match=r"graph eyes/image_encoder: (99\.9|100\.)\d* \(bound 1.0\) max_abs of pooled as a fraction") as error:
        check(bundle, CPU, quiet)
    assert "--target cpu --bisect" in error.value.fix
    gate = graph_gate(bundle)
    assert gate.outputs["image_embedding"] < 1.0 < gate.outputs["pooled"] == gate.value


@pytest.mark.parametrize("same", ["", "so far the same ", "the same " * 100])
def test_what_differs_is_among_what_is_shown(same):
    gate = _judge("verb ears.transcribe #0", f"{same}a cat sat" + " there" * 100, f"{same}a dog sat" + " there" * 100, 0.0)
    assert not gate.passed
    assert ("a cat sat" in gate.value, "a dog sat" in gate.bound) == (True, True)
    assert max(len(gate.value), len(gate.bound)) <= 200
    assert not _judge("verb ears.transcribe #0", f"{same}a", same, 0.0).passed


def test_a_graph_is_as_far_off_as_its_worst_output():
    got, reference = {"a": np.ones(3, np.float32), "b": np.zeros(3, np.float32)}, {"a": np.ones(3, np.float32), "b": np.full(3, 1e-3, np.float32)}
    each, kind = drifts(got, reference, "fp32")
    assert each == {"a": 0.0, "b": pytest.approx(10.0)} and drift(got, reference, "fp32") == (each["b"], kind)
    assert drifts({"a": got["a"]}, reference, "fp32")[0]["b"] == float("inf")


@pytest.mark.parametrize(("state", "how"), [("on-device", "built on the device"), ("built", "opened and checked first on the device")])
def test_engines_that_are_not_to_be_opened_here_are_not_run(toy_bundle, state, how):
    placed = json.loads((toy_bundle / "manifest.json").read_text())["engines"]["cpu"]["eyes/image_encoder"]
    edit(toy_bundle, ("engines", "cpu"), {"eyes/image_encoder": {**placed, "state": state, "backend": "tensorrt"}})
    said = []
    (gate,) = check(toy_bundle, CPU, said.append).manifest.gates["check cpu"]
    assert (gate.name, gate.passed, gate.value, gate.word()) == ("eyes", True, None, "--")
    assert how in gate.note and any(how in line for line in said)


def test_a_bundle_that_is_not_compiled_for_it(toy_bundle, refused):
    what, fix = refused("check", toy_bundle, "--target", "intel-cpu")
    assert (what, fix) == (f"{toy_bundle} is not compiled for intel-cpu", f"mmedge compile {toy_bundle} --target intel-cpu")
