"""What a bundle needs of a board's memory: against sums done by hand, and against the shapes that onnxruntime really computes."""

from __future__ import annotations

import json
import platform
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from system_tree import tree
from tampering import state

from mmedge import onnx_file, runner
from mmedge.deploy.compile import compile
from mmedge.deploy.memory import Memory, Need, estimate, limit_mb, require, shape_of
from mmedge.errors import MmedgeError
from mmedge.evaluate.golden import Golden
from mmedge.target import Target
from mmedge.tensors import TensorSpec

FLOAT, HALF, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64


def saved(path, nodes, inputs, outputs, between, weights):
    values = [[helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in some] for some in (inputs, outputs, between)]
    arrays = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", values[0], values[1], arrays, value_info=values[2])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.fixture
def network(tmp_path):
    """x [batch, 4] -> [batch, 100] -> [batch, 1000] -> y [batch, 3], and a view of the widest on the way."""
    widths = {"a": (4, 100), "b": (100, 1000), "c": (1000, 3)}
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("MatMul", ["h", "b"], ["i"]),
        helper.make_node("Reshape", ["i", "shape"], ["j"]),
        helper.make_node("MatMul", ["j", "c"], ["y"]),
    ]
    weights = {name: np.zeros(size, np.float32) for name, size in widths.items()} | {"shape": np.array([-1, 1000])}
    between = [("h", FLOAT, ["batch", 100]), ("i", FLOAT, ["batch", 1000]), ("j", FLOAT, ["2*batch - batch", 1000])]
    path = saved(tmp_path / "g.onnx", nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 3])], between, weights)
    return runner.Graph(path, "", (TensorSpec("x", "float32", ("batch", 4)),), (), ranges={"batch": (1, 2, 16)})


def test_what_lies_between_the_nodes_is_summed_at_the_largest_size(network):
    (need,) = estimate({"eyes/g": (network, "fp32")}).graphs
    assert need.weights_mb == pytest.approx((4 * (400 + 100_000 + 3000) + 8 * 2) / 1e6, abs=1e-3)
    together = 16 * 4 * (100 + 1000)  # while the second product is computed
    assert need.activations_mb == pytest.approx((together + 16 * 4 * (4 + 3)) / 1e6, abs=1e-3)
    assert (need.cache_mb, need.unknown) == (0, 0)


def test_half_precision_halves_what_is_between_and_takes_the_variants_weights(network, tmp_path):
    small = saved(
        tmp_path / "half.onnx", [helper.make_node("Identity", ["x"], ["y"])], [("x", FLOAT, [1])], [("y", FLOAT, [1])], [], {"w": np.zeros(5000, np.float16)}
    )
    half = runner.Graph(network.path, "", network.inputs, (), ranges=network.ranges, variants={"fp16": runner.Graph(small, "", (), ())})
    (need,) = estimate({"eyes/g": (half, "fp16")}).graphs
    assert need.weights_mb == pytest.approx(0.01)
    assert need.activations_mb == pytest.approx((16 * 2 * 1100 + 16 * 4 * 7) / 1e6, abs=1e-3)


def test_a_cache_counts_twice_and_what_does_not_depend_on_inputs_never(tmp_path):
    nodes = [
        helper.make_node("Transpose", ["table"], ["turned"]),
        helper.make_node("Concat", ["past_key_0", "new"], ["present_key_0"], axis=2),
        helper.make_node("MatMul", ["new", "turned"], ["logits"]),
    ]
    past = ["past_key_0", FLOAT, [1, 2, "past", 8]]
    between = [("turned", FLOAT, [8, 1000])]
    outputs = [("present_key_0", FLOAT, [1, 2, "past + tokens", 8]), ("logits", FLOAT, [1, 2, "tokens", 1000])]
    path = saved(tmp_path / "g.onnx", nodes, [past, ("new", FLOAT, [1, 2, "tokens", 8])], outputs, between, {"table": np.zeros((1000, 8), np.float32)})
    graph = runner.Graph(path, "", (), (), ranges={"past": (0, 10, 100), "tokens": (1, 1, 3)})
    (need,) = estimate({"mind/g": (graph, "fp32")}).graphs
    assert need.cache_mb == pytest.approx(2 * 2 * 100 * 8 * 4 / 1e6, abs=1e-3)
    assert need.activations_mb == pytest.approx(4 * (2 * 3 * 8 + 2 * 3 * 1000) / 1e6, abs=1e-3)
    assert need.weights_mb == pytest.approx(0.032)


def test_what_the_file_does_not_tell_is_counted_as_unknown(tmp_path):
    nodes = [helper.make_node("NonZero", ["x"], ["at"]), helper.make_node("Cast", ["at"], ["y"], to=FLOAT)]
    path = saved(tmp_path / "g.onnx", nodes, [("x", FLOAT, [100])], [("y", FLOAT, [1, "unk__1"])], [("at", INT64, [1, "unk__0"])], {})
    (need,) = estimate({"voice/g": (runner.Graph(path, "", (), ()), "fp32")}).graphs
    assert (need.unknown, need.activations_mb) == (2, 0.0)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("tokens", 7),
        ("past + tokens", 107),
        ("(((frames - 1)//2)) + 1", 500),
        ("Min(40, (((frames - 1)//2)) + 1)", 40),
        ("Max(1, 2*tokens - 20)", 1),
        ("unk__3", None),
        ("tokens/2", None),
        ("9**9**9**9", None),
        ("tokens // (past - 100)", None),
        ("__import__('os').getpid()", None),
        ("(" * 5000 + "1" + ")" * 5000, None),
        ("1+" * 140 + "1", 141),
        ("a b", None),
    ],
)
def test_sizes_are_sums_and_products_and_nothing_else(text, size):
    value = onnx_file._messages()["Value"](name="x")
    value.type.tensor_type.shape.dim.add(dim_param=text)
    assert shape_of(value, {"tokens": 7, "past": 100, "frames": 1000}) == (None if size is None else (size,))


@pytest.mark.full
@pytest.mark.parametrize("architecture", ["CLIPModel", "WhisperForConditionalGeneration", "SmolVLMForConditionalGeneration"])
def test_the_stated_shapes_are_what_onnxruntime_computes(small_bundle, architecture, tmp_path):
    bundle, seen = small_bundle(architecture), 0
    for role, model in bundle.manifest.models.items():
        golden = Golden(bundle, role)
        for name in model.graphs:
            graph, feeds = bundle.graph(role, name), golden.graph(name)[0]
            sizes = {size: have for one in graph.inputs for size, have in zip(one.shape, feeds[one.name].shape) if isinstance(size, str)}
            if graph.weights:
                shutil.copyfile(graph.weights, tmp_path / graph.weights.name)  # onnxruntime follows no link out of the folder
            proto = onnx.load(graph.path, load_external_data=False)
            between = [one for one in proto.graph.value_info if any(one.name in node.output for node in proto.graph.node)]
            proto.graph.output.extend(between)
            onnx.save(proto, tmp_path / "all.onnx")
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            session = onnxruntime.InferenceSession(tmp_path / "all.onnx", options)
            real = dict(zip([one.name for one in session.get_outputs()], session.run(None, feeds)))
            stated = {one.name: shape_of(one, sizes) for one in onnx_file.read(graph.path).graph.value_info if one.name in real}
            wrong = {one: (shape, real[one].shape) for one, shape in stated.items() if shape not in (None, real[one].shape)}
            assert wrong == {}, f"{role}/{name}"
            seen += sum(shape is not None for shape in stated.values())
    assert seen > 100


def test_a_bundle_over_the_boards_memory_is_refused_with_the_figures_and_nothing_changes(toy_bundle):
    target = Target.load("jetson").model_copy(update={"memory_mb": 0})
    before = state(toy_bundle)
    with pytest.raises(MmedgeError) as refused:
        compile(toy_bundle, target, lambda line: None)
    assert "toy.bundle needs about 0.0 MB on jetson (weights 0.0 MB" in refused.value.what
    assert "the largest is eyes/image_encoder" in refused.value.what
    assert "which has 0 MB" in refused.value.what
    assert refused.value.fix.startswith("a target that has it: jetson-orin-nano (4096 MB); or take a smaller model")
    changed = {name for name, content in state(toy_bundle).items() if before.get(name) != content}
    assert not any(name.endswith("manifest.json") for name in changed)


@pytest.mark.parametrize(
    ("total_mb", "fits"),
    [(3000, None), (6000, "jetson-orin-nx (8192 MB)"), (20_000, "jetson-agx-orin (32768 MB)"), (100_000, "no target that mmedge knows has as much")],
)
def test_the_smallest_board_that_would_do_is_named(total_mb, fits):
    needs = [
        Need(graph=name, weights_mb=total_mb * part, activations_mb=0, cache_mb=0, unknown=0)
        for name, part in (("mind/language", 0.9), ("eyes/image_encoder", 0.1))
    ]
    memory, target = Memory(graphs=tuple(needs)), Target.load("jetson-orin-nano")
    if fits is None:
        assert require(memory, target.memory_mb, target, "a.bundle") is None
        return
    with pytest.raises(MmedgeError) as refused:
        require(memory, target.memory_mb, target, "a.bundle")
    assert fits in refused.value.fix
    assert f"the largest is mind/language with {0.9 * total_mb:.0f} MB" in refused.value.what


MEMINFO = {"proc/meminfo": "MemTotal:       64262888 kB\n"}
L4T = {"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64\n"}


@pytest.mark.parametrize(
    ("files", "name", "limit"),
    [
        ({**L4T, **MEMINFO}, "jetson", 62756),  # a container on an AGX Orin: the board's name is hidden
        ({**L4T, **MEMINFO}, "jetson-orin-nano", 4096),  # not this board
        (L4T, "jetson", 4096),
        (MEMINFO, "jetson", 4096),
        ({**L4T, **MEMINFO}, "cpu", None),
    ],
)
def test_on_a_board_its_own_memory_counts(monkeypatch, tmp_path, files, name, limit):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert limit_mb(Target.load(name), tree(tmp_path, files)) == limit


def test_no_other_target_helps_on_the_board_itself():
    memory = Memory(graphs=(Need(graph="mind/language", weights_mb=9000, activations_mb=0, cache_mb=0, unknown=0),))
    with pytest.raises(MmedgeError, match="which has 7619 MB") as refused:
        require(memory, 7619, Target.load("jetson"), "a.bundle")
    assert refused.value.fix.startswith("take a smaller model")


def test_the_plan_says_what_the_bundle_needs(toy_bundle):
    made = compile(toy_bundle, Target.load("jetson"), lambda line: None)
    memory = json.loads((made.path / made.manifest.plans["jetson"][0].path).read_text())["memory"]
    assert [one["graph"] for one in memory["graphs"]] == ["eyes/image_encoder"]
    assert memory["graphs"][0]["unknown"] == 0
