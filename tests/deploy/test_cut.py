"""Parts of a network for bisection: the very weights, all that later nodes read, and nothing left behind."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from deploy.planted import LAYERS, WIDTH, model, network
from onnx import helper
from onnx.reference import ReferenceEvaluator
from tampering import state

from mmedge import runner
from mmedge.backends.tensorrt.build import build, profile_shapes
from mmedge.backends.tensorrt.network import parse
from mmedge.deploy.cut import Net
from mmedge.errors import MmedgeError
from mmedge.tensors import TensorSpec


@pytest.fixture
def large(tmp_path):
    """The network as a file with its weights beside it, and as a backend takes it."""
    path = tmp_path / "large.onnx"
    onnx.save(network(), path, save_as_external_data=True, location="large.weights", size_threshold=1024)
    return runner.Graph(path, "0" * 64, (), (), tmp_path / "large.weights")


def run(path, feeds):
    return ReferenceEvaluator(onnx.load(str(path))).run(None, feeds)[0]


FEEDS = {"pixel_values": np.random.default_rng(2).random((2, 3, 8, 8), np.float32)}


def test_a_cut_uses_the_very_weights_and_leaves_nothing(large, tmp_path):
    before = state(tmp_path)
    net = Net(large, tmp_path / "nowhere")
    with net.cut(["image_embedding"], {}) as part:
        assert part.weights == large.weights
        assert part.path.stat().st_size < 8192
        np.testing.assert_array_equal(run(part.path, FEEDS), run(large.path, FEEDS))
    assert state(tmp_path) == before


def test_embedded_weights_are_moved_beside_the_cuts(tmp_path):
    path, scratch = tmp_path / "whole.onnx", tmp_path / "scratch"
    scratch.mkdir()
    onnx.save(network(), path)
    with Net(runner.Graph(path, "0" * 64, (), ()), scratch).cut(["image_embedding"], {}) as part:
        assert part.weights.stat().st_size >= 7 * WIDTH * WIDTH * 4
        assert part.path.parent == part.weights.parent == scratch and part.path.stat().st_size < 8192
        np.testing.assert_array_equal(run(part.path, FEEDS), run(path, FEEDS))


@pytest.mark.full
@pytest.mark.parametrize("layer", range(LAYERS))
def test_nvidias_parser_takes_every_cut(tmp_path, layer):
    """Its own, of TensorRT-RTX; what it builds runs nowhere here."""
    pytest.importorskip("tensorrt_rtx_bindings", exc_type=ImportError)
    path = tmp_path / "whole.onnx"
    onnx.save(network(branches=False), path)
    inputs = (TensorSpec("pixel_values", "float32", ("batch", 3, 8, 8)),)
    specs = {name: TensorSpec(name, "float32", ("batch", WIDTH)) for name in (f"hidden.{layer}", f"product.{layer}")}
    whole = runner.Graph(path, "0" * 64, inputs, (), ranges={"batch": (1, 2, 4)})
    with Net(whole, tmp_path).cut(list(specs), specs) as part:
        assert parse(part, "rtx").refusals == ()
        if layer == 1:
            assert build(part, "fp32", flavour="rtx", shapes=profile_shapes(part), capability="8.6").layers["fp32"]


def test_a_cut_hands_on_all_that_later_nodes_read(tmp_path):
    path = tmp_path / "whole.onnx"
    onnx.save(network(), path)
    net = Net(runner.Graph(path, "0" * 64, (), ()), tmp_path)
    names = [node.name for node in net.nodes]
    assert net.live(names.index("layers.1.tanh")) == ["hidden.1", "product.1"]
    assert net.live(names.index("choose")) == [f"hidden.{LAYERS}"]  # read by the branches of the If alone
    assert net.live(len(names)) == ["image_embedding"]


def test_nodes_in_any_order_are_brought_into_one(tmp_path):
    mixed = network()
    nodes = list(mixed.graph.node)
    del mixed.graph.node[:]
    mixed.graph.node.extend(nodes[::-1])
    path = tmp_path / "mixed.onnx"
    path.write_bytes(mixed.SerializeToString())
    net = Net(runner.Graph(path, "0" * 64, (), ()), tmp_path)
    made = set()
    for node in net.nodes:
        assert {name for name in node.input if name in net.maker} <= made
        made |= set(node.output)
    assert len(net.nodes) == len(nodes)


def test_nodes_that_wait_for_each_other_are_refused(tmp_path):
    path = tmp_path / "circle.onnx"
    path.write_bytes(model([helper.make_node("Add", ["a", "b"], ["b"], name="round")], []).SerializeToString())
    with pytest.raises(MmedgeError, match="wait for each other, round for one"):
        Net(runner.Graph(path, "0" * 64, (), ()), tmp_path)
