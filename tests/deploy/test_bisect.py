"""Planted faults are found: by a stand-in for a runtime with one bad operator, by a damaged weight of a variant, by what bf16 really does.

The graphs are run by ONNX Runtime and OpenVINO themselves; nothing here needs a device.
"""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from deploy.planted import LAYERS, model, network
from onnx import helper, numpy_helper
from onnxruntime.transformers import float16
from tampering import edit, state, swap

from mmedge import runner
from mmedge.bundle import Bundle
from mmedge.deploy.bisect import Bisection, bisect, describe
from mmedge.documents import dump_json
from mmedge.manifest import Variant
from mmedge.target import Target

CPU = Target.load("cpu")
GRAPH = ("models", "eyes", "graphs", "image_encoder", "file")
PLACED = ("engines", "cpu", "eyes/image_encoder")


def quiet(line):
    pass


@pytest.fixture
def net(toy_bundle):
    """The toy's bundle with the network in the place of its graph."""
    swap(toy_bundle, GRAPH, network().SerializeToString())
    return toy_bundle


class Faulty:
    """A stand-in for a runtime that computes one operator wrong: ONNX Runtime, with that node's output a hundredth too large.

    Args:
        node: the name of that node.
        unless: the fault is not there where this tensor is an output, as where a runtime fuses nodes.
    """

    def __init__(self, node, unless=None):
        self.real, self.node, self.unless, self.compiled = runner.load_backend("ort"), node, unless, 0

    def probe(self, target=None):
        return self.real.probe(target)

    def compile(self, candidate, target, out):
        self.compiled += 1
        return runner.Engine(candidate)

    def open(self, engine, target):
        graph = engine.candidate.graph
        made = onnx.load(str(graph.path), load_external_data=False)
        if self.unless not in {value.name for value in made.graph.output}:
            for index, node in enumerate(made.graph.node):
                if node.name == self.node:
                    name, node.output[0] = node.output[0], f"{node.output[0]} as it should be"
                    made.graph.initializer.append(numpy_helper.from_array(np.float32(1.01), "fault"))
                    made.graph.node.insert(index + 1, helper.make_node("Mul", [node.output[0], "fault"], [name]))
                    break
        path = graph.path.with_name(f"faulty-{graph.path.name}")
        onnx.save(made, path)
        return self.real.open(runner.Engine(runner.Candidate(runner.Graph(path, "", graph.inputs, graph.outputs), "fp32")), target)


@pytest.fixture
def faulty(monkeypatch):
    def made(node, unless=None):
        backend = Faulty(node, unless)
        monkeypatch.setattr(runner, "load_backend", lambda name: backend)
        return backend

    return made


def test_without_a_fault_nothing_is_found(net):
    before = state(net)
    made = bisect(net, CPU, quiet)
    assert (made.drifts, made.first, made.probes) == (False, None, ())
    assert made.graphs[0].graph == "eyes/image_encoder" and made.graphs[0].outputs.keys() == {"image_embedding"}
    assert "no graph" in describe(made)
    assert state(net) == before


@pytest.mark.parametrize(
    ("node", "operator", "module"),
    [
        pytest.param("pool", "GlobalAveragePool", None, marks=pytest.mark.full),
        ("stem", "MatMul", "stem"),
        ("layers.3.matmul", "MatMul", "layers.3"),
        pytest.param("layers.3.add", "Add", None, marks=pytest.mark.full),
        pytest.param("layers.5.tanh", "Tanh", None, marks=pytest.mark.full),
        ("choose", "If", None),
        pytest.param("head", "MatMul", "head", marks=pytest.mark.full),
    ],
)
def test_an_operator_that_a_runtime_computes_wrong_is_named(net, faulty, node, operator, module):
    backend = faulty(node)
    made = bisect(net, CPU, quiet)
    assert (made.first.node, made.first.operator, made.first.module) == (node, operator, module)
    assert made.first.verified and made.first.drift > 1.0 and made.first.kind == "max_abs" and made.first.bound == 1e-4
    assert all(drift <= 1.0 for drift in made.first.inputs.values())
    assert backend.compiled <= 2 + int(np.ceil(np.log2(LAYERS * 3 + 5)))
    assert f"{node} ({operator}" in describe(made) and "its inputs are within the bound" in describe(made)


def test_a_fault_that_goes_away_when_one_looks_is_told_as_such(net, faulty):
    faulty("layers.2.tanh", unless="product.2")
    made = bisect(net, CPU, quiet).first
    assert (made.node, made.verified) == ("layers.2.tanh", False)
    assert "what the runtime does between them" in made.note


@pytest.mark.full
def test_an_engine_that_is_right_once_it_is_built_again(net, faulty, monkeypatch):
    backend = faulty("head")
    monkeypatch.setattr(backend, "compile", lambda candidate, target, out: setattr(backend, "node", "none") or runner.Engine(candidate))
    made = bisect(net, CPU, quiet)
    assert made.drifts and made.first is None
    assert "compile the bundle again" in made.note and made.note in describe(made)


def _with_variant(path, damaged=None):
    """Place the graph on ONNX Runtime in fp16, by a variant of it in half precision, of which one weight may be damaged."""
    swap(path, GRAPH, network(branches=False).SerializeToString())
    half = float16.convert_float_to_float16(network(damaged, branches=False), keep_io_types=True, op_block_list=["GlobalAveragePool"])
    with Bundle.writing(path) as bundle:
        entry = bundle.add("eyes", "image_encoder-fp16.onnx", half.SerializeToString())
        variant = Variant(file=entry, precision="fp16", method="onnxruntime.transformers.float16", drift=0.0)
        manifest = bundle.manifest.model_dump(mode="json", by_alias=True)
        manifest["models"]["eyes"]["graphs"]["image_encoder"]["variants"] = [variant.model_dump(mode="json")]
        placed = manifest["engines"]["cpu"]["eyes/image_encoder"]
        placed |= {"precision": "fp16", "made_of": entry.sha256}
        bundle.manifest = type(bundle.manifest).model_validate(manifest)
        bundle.commit()


def test_a_variant_in_half_precision_is_within_its_bound(net):
    _with_variant(net)
    made = bisect(net, CPU, quiet)
    assert not made.drifts and 0.0 < made.graphs[0].drift < 1.0
    assert made.graphs[0].precision == "fp16"


@pytest.mark.parametrize("layer", [0, 4])
def test_a_damaged_weight_of_a_variant_is_found(net, layer):
    _with_variant(net, f"layers.{layer}.weight")
    made = bisect(net, CPU, quiet)
    assert (made.first.node, made.first.operator, made.first.module) == (f"layers.{layer}.matmul", "MatMul", f"layers.{layer}")
    assert (made.first.kind, made.first.bound, made.first.verified) == ("relative_l2", 1e-2, True)


def test_noise_that_is_set_to_zero_is_not_taken_for_drift(toy_bundle, faulty):
    """Two runs of the reference itself do not agree on it; the fault after it is found."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["mean"], name="pool"),
        helper.make_node("Flatten", ["mean"], ["flat"], name="flatten"),
        helper.make_node("RandomNormalLike", ["flat"], ["noise"], name="random"),
        helper.make_node("Mul", ["noise", "none"], ["silent"], name="silence"),
        helper.make_node("Add", ["flat", "silent"], ["sum"], name="sum"),
        helper.make_node("Tanh", ["sum"], ["image_embedding"], name="bend"),
    ]
    weights = [numpy_helper.from_array(np.float32(0.0), "none")]
    swap(toy_bundle, GRAPH, model(nodes, weights).SerializeToString())
    faulty("sum")
    assert bisect(toy_bundle, CPU, quiet).first.node == "sum"


@pytest.mark.full
def test_what_bf16_loses_by_cancellation_is_found(toy_bundle):
    """OpenVINO computes in bf16, whose 8 bits leave nothing of a small difference between large numbers."""
    facts = runner.load_backend("openvino").probe()
    if "bf16" not in facts.features:
        pytest.skip("this CPU has no bf16")
    random = np.random.default_rng(1)
    weights = [numpy_helper.from_array((random.standard_normal((3, 64)) / 2).astype(np.float32), "in")]
    weights += [numpy_helper.from_array(np.eye(64, dtype=np.float32) * 100, "large"), numpy_helper.from_array(np.eye(64, dtype=np.float32) * 99, "larger")]
    weights += [numpy_helper.from_array(random.standard_normal((64, 3)).astype(np.float32), "out")]
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["mean"], name="pool"),
        helper.make_node("Flatten", ["mean"], ["flat"], name="flatten"),
        helper.make_node("MatMul", ["flat", "in"], ["wide"], name="in"),
        helper.make_node("MatMul", ["wide", "large"], ["a"], name="a"),
        helper.make_node("MatMul", ["wide", "larger"], ["b"], name="b"),
        helper.make_node("Tanh", ["wide"], ["bent"], name="bent"),
        helper.make_node("Sub", ["a", "b"], ["difference"], name="cancel"),
        helper.make_node("Add", ["difference", "bent"], ["sum"], name="sum"),
        helper.make_node("MatMul", ["sum", "out"], ["image_embedding"], name="out"),
    ]
    swap(toy_bundle, GRAPH, model(nodes, weights).SerializeToString())
    for precision in ("fp32", "bf16"):
        edit(toy_bundle, (*PLACED, "backend"), "openvino")
        edit(toy_bundle, (*PLACED, "precision"), precision)
        made = bisect(toy_bundle, CPU, quiet)
        assert made.drifts == (precision == "bf16")
    assert (made.first.node, made.first.operator) == ("cancel", "Sub")


@pytest.mark.parametrize(
    ("target", "what"),
    [("intel-cpu", "is not compiled for intel-cpu"), ("null", "null computes nothing"), ("cpuu", "there is no target 'cpuu'"), ("jetson", "on the device")],
)
def test_what_cannot_be_bisected_is_two_lines(toy_bundle, refused, target, what):
    placed = json.loads((toy_bundle / "manifest.json").read_text())["engines"]["cpu"]["eyes/image_encoder"]
    edit(toy_bundle, ("engines", "jetson"), {"eyes/image_encoder": {**placed, "state": "on-device", "backend": "tensorrt"}})
    before = state(toy_bundle)
    assert what in " ".join(refused("check", toy_bundle, "--target", target, "--bisect"))
    assert state(toy_bundle) == before


def test_bisect_takes_one_target(toy_bundle, refused):
    assert refused("check", toy_bundle, "--target", "cpu", "--target", "null", "--bisect") == (
        "--bisect looks at one target at a time",
        "leave out all but --target cpu",
    )


@pytest.mark.full
def test_the_command_says_what_it_found(net, mmedge, refused):
    status, out, _ = mmedge("check", net, "--target", "cpu", "--bisect")
    assert (status, "no graph of" in out) == (0, True)
    _with_variant(net, "layers.1.weight")
    status, out, _ = mmedge("check", net, "--target", "cpu", "--bisect", "--json")
    made = json.loads(out)
    assert (status, made["schema"], made["first"]["node"]) == (3, "mmedge.bisection/1", "layers.1.matmul")
    what, _ = refused("check", net, "--target", "cpu", "--bisect", status=3, shows="layers.1.matmul (MatMul, module layers.1)")
    assert what.startswith("eyes/image_encoder drifts on cpu, first at layers.1.matmul (MatMul): ")
    assert not list(net.glob(".scratch*"))


@pytest.mark.full
def test_what_a_board_found_comes_home_with_its_status(net, board, mmedge, refused):
    """``check --bisect --on`` through a real sshd; the far side's mmedge is one that found something."""
    _with_variant(net, "layers.1.weight")
    board.answers(net)
    found = bisect(net, CPU, quiet)
    (board.home / "mmedge/toy/releases/0123456789ab").mkdir(parents=True)
    (board.home / "mmedge/toy/current").symlink_to("releases/0123456789ab")
    (board.home / "answers" / "check").write_text(dump_json(found))
    board.program('#!/bin/sh\necho "$@" >>"$HOME/calls"\ncat "$HOME/answers/check"\nexit 3\n')
    status, out, _ = mmedge("check", net, "--bisect", "--on", "board", "--json")
    assert (status, Bisection.model_validate_json(out)) == (3, found)
    assert board.calls == ["check ./mmedge/toy/current --bisect --json"]
    what, _ = refused("check", net, "--bisect", "--on", "board", status=3, shows="layers.1.matmul")
    assert what.startswith("eyes/image_encoder drifts on cpu, first at layers.1.matmul (MatMul)")
