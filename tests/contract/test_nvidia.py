"""NVIDIA's own parser takes every graph that may be placed on NVIDIA, and its builder one of each kind, in the sizes that the families state.

TensorRT for RTX reads and builds without a GPU or a driver; running needs both, so nothing here runs.
"""

from __future__ import annotations

import platform

import onnx
import pytest
from checkpoints import discovered

from mmedge.backends.tensorrt.build import build, profile_shapes
from mmedge.backends.tensorrt.network import parse
from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.family import load_family

if platform.machine() != "x86_64":
    pytest.skip("TensorRT for RTX has wheels for x86-64 only", allow_module_level=True)

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
            if "tensorrt" not in prefer.get(plain, ("tensorrt",)):
                continue
            graph = bundle.graph(role, name)
            kind = (model.family, name, frozenset(node.op_type for node in onnx.load(graph.path, load_external_data=False).graph.node))
            found = list(map(str, parse(graph, "rtx").refusals)) if kind in _built else _not_built(graph)
            _built.add(kind)
            wrong += [f"{role}/{name}: {one}" for one in found]
    return wrong


def _not_built(graph):
    try:
        made = build(graph, "fp32", flavour="rtx", shapes=profile_shapes(graph), capability="8.6")
    except MmedgeError as error:
        return [error.what]
    return [] if made.layers["fp32"] else [f"it computes nothing in fp32: {made.layers}"]
