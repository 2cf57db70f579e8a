"""NVIDIA's own parser takes every graph that may be placed on NVIDIA, and builds one of each kind; see tests/nvidia_parser.py for what that proves."""

from __future__ import annotations

import platform

import numpy as np
import onnx
import pytest
from checkpoints import discovered
from onnx import TensorProto, helper

from mmedge.bundle import Bundle
from mmedge.evaluate.golden import Golden
from mmedge.family import load_family
from mmedge.tensors import TensorSpec

if platform.machine() != "x86_64":
    pytest.skip("TensorRT for RTX has wheels for x86-64 only", allow_module_level=True)

import nvidia_parser

pytestmark = pytest.mark.full


@pytest.mark.parametrize("architecture", sorted(discovered(), reverse=True))  # test_exports.py begins at the other end: workers share the exports
def test_every_graph_parses(small_bundle, architecture):
    assert judged(small_bundle(architecture)) == []


def test_the_real_graphs_parse(assistant_bundle):
    assert judged(Bundle.open(assistant_bundle)) == []


_built: set[tuple[str, str, frozenset[str]]] = set()


def judged(bundle):
    """What is wrong with the graphs of a bundle. The first of each kind (a family's graph in one form of its cache, of the same operators) is built too."""
    wrong = []
    for role, model in bundle.manifest.models.items():
        prefer = load_family(model.family).PREFER
        for name in model.graphs:
            plain = name.removesuffix("-scatternd").removesuffix("-tensorscatter")
            if not nvidia_parser.may_run(prefer, plain):
                continue
            graph = bundle.graph(role, name)
            kind = (model.family, name, frozenset(node.op_type for node in onnx.load(graph.path, load_external_data=False).graph.node))
            if kind in _built:
                found = nvidia_parser.refusals(graph.path)
            else:
                found = nvidia_parser.build(graph.path, graph.inputs, Golden(bundle, role).graph(name)[0])
                _built.add(kind)
            wrong += [f"{role}/{name}: {one}" for one in found]
    return wrong


def _write(path, *nodes):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_a_refusal_has_node_operator_and_reason(tmp_path):
    taken = _write(tmp_path / "taken.onnx", helper.make_node("Sqrt", ["x"], ["y"], name="root"))
    assert nvidia_parser.refusals(taken) == []
    path = _write(tmp_path / "refused.onnx", helper.make_node("Sqrt", ["x"], ["r"]), helper.make_node("NonZero", ["r"], ["y"], name="where"))
    (said,) = nvidia_parser.refusals(path)
    assert said.startswith("where (NonZero): ")
    assert "NonZero plugin creator version 1 was not found" in said
    assert nvidia_parser.refusals(taken) == []  # one refusal does not spoil what follows


def test_an_engine_that_cannot_be_built_is_told_from_one_that_can(tmp_path):
    path, golden = _write(tmp_path / "y.onnx", helper.make_node("Sqrt", ["x"], ["y"])), {"x": np.zeros(3, np.float32)}
    assert nvidia_parser.build(path, [TensorSpec("x", "float32", ("n",))], golden) == []
    (said,) = nvidia_parser.build(path, [], golden)
    assert "x is missing dimensions" in said
