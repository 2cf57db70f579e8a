"""Where a graph's time goes, held against graphs whose structure is known."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mmedge.bundle import Bundle
from mmedge.deploy.compile import compile
from mmedge.evaluate.golden import Golden
from mmedge.profile.modules import Modules
from mmedge.profile.operators import operators, summed
from mmedge.runner import Candidate, Engine, Graph, Operated, OperatorTime, load_backend
from mmedge.target import Target
from mmedge.tensors import TensorSpec

TARGET = Target(name="test", summary="", backends=("ort",), max_opset=18, max_ir=10)
WIDTH, SMALL = 384, 64
MATRIX = {"ort": {"MatMul"}, "openvino": {"MatMul", "FullyConnected"}}


def saved(path, nodes, inputs, outputs, constants=(), producer=""):
    values = [
        [helper.make_tensor_value_info(spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.shape) for spec in side]
        for side in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "g", *values, list(constants))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, producer_name=producer), path)
    return Graph(path, "", tuple(inputs), tuple(outputs))


@pytest.fixture
def unequal(tmp_path):
    """One large MatMul, and a small Add that has nothing to do with it."""
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((WIDTH, WIDTH), np.float32), "weight")
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["product"], name="large"), helper.make_node("Add", ["a", "b"], ["sum"], name="small")]
    inputs = [TensorSpec("x", "float32", (WIDTH, WIDTH)), *(TensorSpec(name, "float32", (SMALL, SMALL)) for name in "ab")]
    outputs = [TensorSpec("product", "float32", (WIDTH, WIDTH)), TensorSpec("sum", "float32", (SMALL, SMALL))]
    return saved(tmp_path / "unequal.onnx", nodes, inputs, outputs, [weight])


def feeds(graph):
    return {spec.name: np.ones(spec.shape, spec.dtype) for spec in graph.inputs}


def profiled(name, graph, runs=8):
    backend = load_backend(name)
    if not backend.probe().available:
        pytest.skip(backend.probe().reason)
    return backend.operators(Engine(Candidate(graph, "fp32")), TARGET, feeds(graph), runs)


@pytest.mark.parametrize("name", MATRIX)
def test_the_matrix_leads(name, unequal):
    found = summed(profiled(name, unequal), Modules())
    assert found.kinds[0].kind in MATRIX[name]
    assert found.top[0].kind == found.kinds[0].kind
    assert found.kinds[0].ms > 0.5 * found.sum_ms  # 113 million operations against four thousand
    assert found.sum_ms == pytest.approx(sum(kind.ms for kind in found.kinds), abs=1e-4)


def test_both_operators_are_counted_where_the_runtime_counts_them(unequal):
    found = summed(profiled("ort", unequal), Modules())
    assert {(kind.kind, kind.count) for kind in found.kinds} == {("MatMul", 1), ("Add", 1)}
    assert [one.name for one in found.top] == ["large", "small"]


def test_a_body_is_not_counted_twice(tmp_path):
    """A Loop's time holds its body's: the parts would sum to almost twice the whole."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "weight"], ["next"], name="inside"),
            helper.make_node("Identity", ["go"], ["on"], name="again"),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [WIDTH, WIDTH]),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("next", TensorProto.FLOAT, [WIDTH, WIDTH])],
    )
    weight = numpy_helper.from_array(np.eye(WIDTH, dtype=np.float32), "weight")
    nodes = [helper.make_node("Loop", ["steps", "", "x"], ["y"], name="around", body=body)]
    matrix = (WIDTH, WIDTH)
    inputs = [TensorSpec("x", "float32", matrix), TensorSpec("steps", "int64", ())]
    constants = [weight]
    graph = saved(tmp_path / "loop.onnx", nodes, inputs, [TensorSpec("y", "float32", matrix)], constants)
    given = {"x": np.ones(matrix, np.float32), "steps": np.array(4, np.int64)}
    found = load_backend("ort").operators(Engine(Candidate(graph, "fp32")), TARGET, given, 8)
    times_ms = {one.name: one.ms for one in found.operators}
    assert sum(times_ms.values()) <= found.graph_ms
    assert times_ms["inside"] > times_ms["around"] >= 0


def test_nothing_is_left_behind(unequal, tmp_path, monkeypatch):
    here, scratch = tmp_path / "here", tmp_path / "scratch"
    here.mkdir()
    scratch.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert profiled("ort", unequal, 2).operators
    assert not [*here.iterdir(), *scratch.iterdir()]
    assert [path.name for path in unequal.path.parent.iterdir() if path.is_file()] == ["unequal.onnx"]


def test_the_placed_graph_of_a_bundle(toy_bundle):
    bundle, target = Bundle.open(toy_bundle), Target.load("cpu")
    found = operators(bundle, "eyes", "image_encoder", target, Golden(bundle, "eyes").graph("image_encoder")[0])
    assert "GlobalAveragePool" in {kind.kind for kind in found.kinds}
    assert {one.module for one in found.top} == {None}
    assert "not exported by torch" in found.note


def test_a_backend_without_a_profiler_has_none(toy_bundle):
    compile(toy_bundle, Target.load("null"), lambda line: None)
    bundle = Bundle.open(toy_bundle)
    assert operators(bundle, "eyes", "image_encoder", Target.load("null"), Golden(bundle, "eyes").graph("image_encoder")[0]) is None


def test_what_is_in_no_operator_is_said_and_ten_are_named():
    times = tuple(OperatorTime(f"node_{index}", "Add" if index % 2 else "Mul", index / 10) for index in range(12))
    found = summed(Operated(5, 10.0, times, "the runtime looks away"), Modules())
    assert [one.name for one in found.top] == [f"node_{index}" for index in range(11, 1, -1)]
    assert [(kind.kind, kind.count, kind.ms) for kind in found.kinds] == [("Add", 6, 3.6), ("Mul", 6, 3.0)]
    assert found.note == "3.400 of 10.000 ms are in no operator: the runtime looks away"
    assert not summed(Operated(5, 6.7, times, "the runtime looks away"), Modules()).note


@pytest.fixture
def exported(tmp_path):
    """As torch 2.13 leaves a convolution with its norm fused in, an activation without a module, a matrix of its former exporter, and a size."""

    def node(kind, inputs, output, name, scopes=None):
        made = helper.make_node(kind, inputs, [output], name=name)
        if scopes:
            classes = ["net.Small", *("torch.nn.modules.batchnorm.BatchNorm2d" for _ in scopes[1:-1]), "aten.some.default"]
            helper.set_model_props(made, {"pkg.torch.onnx.name_scopes": repr(scopes), "pkg.torch.onnx.class_hierarchy": repr(classes)})
        return made

    nodes = [
        node("Conv", ["x", "stem.conv.weight"], "getitem", "node_Conv_9", ["", "stem", "stem.norm", "native_batch_norm"]),
        node("Clip", ["getitem", "", ""], "relu6", "node_relu6", ["", "relu6"]),
        node("Conv", ["relu6", "w"], "conv2d_1", "node_conv2d_1", ["", "blocks.0", "blocks.0.conv", "conv2d_1"]),
        node("Relu", ["conv2d_1"], "relu", "/blocks/blocks.1/Relu"),
        node("Relu", ["relu"], "size", "node_size", ["_empty_nn_module_stack_from_metadata_hook", "sym_size"]),
        node("Relu", ["size"], "y", "node_odd", ["", "odd"]),
    ]
    nodes[-1].metadata_props[0].value = "__import__('os').getcwd()"  # whatever a file holds there is only read
    weights = [numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), name) for name in ("stem.conv.weight", "w")]
    shape = (1, 4, 8, 8)
    return saved(tmp_path / "net.onnx", nodes, [TensorSpec("x", "float32", shape)], [TensorSpec("y", "float32", shape)], weights, "pytorch")


@pytest.mark.parametrize(
    ("name", "kind", "nodes", "module"),
    [
        ("node_Conv_9", "Conv", (), "stem.conv"),  # the owner of its weight, not the norm that was fused into it
        ("node_Conv_9/WithoutBiases", "Convolution", ("node_Conv_9/WithoutBiases", "node_Conv_9", "node_relu6"), "stem.conv"),
        ("relu6_nchwc", "Conv", (), "stem.conv"),  # named by the output of the activation it was fused with
        ("relu6_nchwc", "Pool", (), "Small"),  # no such kind before it: the activation's own, the outermost by its class
        ("node_conv2d_1/MatmulTransposeFusion//MatMulScaleFusion/", "FusedMatMul", (), "blocks.0.conv"),
        ("node_conv2d_1_Q8", "MatMulNBits", (), "blocks.0.conv"),
        ("Multiply_17", "Subgraph", ("Multiply_17", "node_conv2d_1"), "blocks.0.conv"),
        ("/blocks/blocks.1/Relu", "Relu", (), "blocks.blocks.1"),
        ("node_size", "Relu", (), None),
        ("node_odd", "Relu", (), None),
        ("SkipLayerNormalization_token_0", "SkipLayerNormalization", (), None),
    ],
)
def test_an_operator_finds_its_module(exported, name, kind, nodes, module):
    assert Modules.read(exported.path).of(OperatorTime(name, kind, 1.0, nodes)) == module


def test_a_device_without_onnx_reads_the_same_modules(exported, monkeypatch):
    found = Modules.read(exported.path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert Modules.read(exported.path) == found
    assert found.nodes


@pytest.mark.full
@pytest.mark.parametrize("name", MATRIX)
def test_modules_of_what_torch_exports_now(name, tmp_path):
    torch = pytest.importorskip("torch")
    from mmedge.build.trace import trace
    from mmedge.family import TorchGraph

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm = torch.nn.Conv2d(16, 16, 3, padding=1, bias=False), torch.nn.BatchNorm2d(16)

        def forward(self, x):
            return torch.nn.functional.relu(self.norm(self.convolution(x)))

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.head = torch.nn.ModuleList(Block() for _ in range(2)), torch.nn.Linear(16 * 64 * 64, 32)

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.head(x.flatten(1))

    graph, _, _ = trace("net", TorchGraph(Net(), {"x": torch.randn(1, 16, 64, 64)}, ("y",)), tmp_path / "net.onnx")
    found = summed(profiled(name, graph), Modules.read(graph.path))
    named = {one.module for one in found.top}
    assert {"blocks.0.convolution", "blocks.1.convolution", "head"} <= named
    assert named <= {"blocks.0.convolution", "blocks.1.convolution", "head", "Net", None}
