"""Every rule is held against a count by hand, and whole networks against their architecture's own numbers and torch's counter."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnx.defs
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

from mmedge.errors import MmedgeError
from mmedge.profile.flop_rules import FREE, RULES
from mmedge.profile.flops import Work, work
from mmedge.runner import Graph
from mmedge.tensors import TensorSpec

NUMBERS = {"float32": T.FLOAT, "float16": T.FLOAT16, "int64": T.INT64, "int32": T.INT32, "uint8": T.UINT8, "int8": T.INT8, "bool": T.BOOL}


def f(*shape):
    return np.ones(shape, np.float32)


def value(name, array=None, dtype="float32"):
    return h.make_tensor_value_info(
        name, NUMBERS[dtype if array is None else array.dtype.name], None if array is None else [f"{name}{n}" for n in range(array.ndim)]
    )


def save(path, nodes, feeds, weights=None, outputs=("y",), dtype="float32", opset=21, **external):
    """The nodes as a graph with dynamic shapes, written to ``path``; also as mmedge knows it."""
    graph = h.make_graph(
        nodes,
        "hand",
        [value(name, array) for name, array in feeds.items()],
        [value(name, dtype=dtype) for name in outputs],
        [array if isinstance(array, onnx.TensorProto) else numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset), h.make_opsetid("com.microsoft", 1)], ir_version=10)
    onnx.save(model, str(path), **external)
    return Graph(path, "", tuple(TensorSpec(name, array.dtype.name, tuple(f"{name}{n}" for n in range(array.ndim))) for name, array in feeds.items()), ())


@pytest.fixture
def counted(tmp_path):
    def count(nodes, feeds, weights=None, **how) -> Work:
        nodes = nodes if isinstance(nodes, list) else [nodes]
        return work(save(tmp_path / "hand.onnx", nodes, feeds, weights, **how), feeds)

    return count


def u8(*shape):
    return np.ones(shape, np.uint8)


def s8(*shape):
    return np.ones(shape, np.int8)


SCALE, ZERO = np.array(0.5, np.float32), np.array(0, np.uint8)


# name -> nodes, feeds, weights, FLOPs by hand, how else
KINDS = {
    "MatMul": (h.make_node("MatMul", ["x", "w"], ["y"]), {"x": f(2, 3)}, {"w": f(3, 5)}, 2 * 2 * 3 * 5, {}),
    "MatMul of batches": (h.make_node("MatMul", ["x", "w"], ["y"]), {"x": f(7, 1, 2, 3), "w": f(4, 3, 5)}, {}, 7 * 4 * 2 * 2 * 3 * 5, {}),
    "MatMul of vectors": (h.make_node("MatMul", ["x", "w"], ["y"]), {"x": f(3), "w": f(3)}, {}, 2 * 3, {}),
    "Gemm": (h.make_node("Gemm", ["x", "w", "b"], ["y"]), {"x": f(2, 3)}, {"w": f(3, 5), "b": f(5)}, 2 * 2 * 3 * 5, {}),
    "Gemm transposed": (h.make_node("Gemm", ["x", "w"], ["y"], transA=1, transB=1), {"x": f(3, 2)}, {"w": f(5, 3)}, 2 * 2 * 3 * 5, {}),
    "Gemm of nothing": (h.make_node("Gemm", ["x", "w"], ["y"]), {"x": f(0, 3)}, {"w": f(3, 5)}, 0, {}),
    "Conv": (
        h.make_node("Conv", ["x", "w", "b"], ["y"], strides=[2, 2], pads=[1] * 4),
        {"x": f(2, 3, 8, 8)},
        {"w": f(5, 3, 3, 3), "b": f(5)},
        2 * 2 * 5 * 4 * 4 * 3 * 9,
        {},
    ),
    "Conv of groups": (h.make_node("Conv", ["x", "w"], ["y"], group=3), {"x": f(1, 6, 8, 8)}, {"w": f(9, 2, 3, 3)}, 2 * 9 * 6 * 6 * 2 * 9, {}),
    "Conv of one axis": (h.make_node("Conv", ["x", "w"], ["y"], dilations=[2]), {"x": f(1, 3, 10)}, {"w": f(5, 3, 3)}, 2 * 5 * 6 * 3 * 3, {}),
    "ConvTranspose": (h.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[4], pads=[1, 1]), {"x": f(1, 6, 10)}, {"w": f(6, 5, 8)}, 2 * 6 * 10 * 5 * 8, {}),
    "ConvTranspose of groups": (h.make_node("ConvTranspose", ["x", "w"], ["y"], group=3), {"x": f(1, 6, 10)}, {"w": f(6, 5, 8)}, 2 * 6 * 10 * 5 * 8, {}),
    "Einsum": (
        h.make_node("Einsum", ["x", "w"], ["y"], equation="bhid, bhjd -> bhij"),
        {"x": f(2, 3, 4, 5), "w": f(2, 3, 6, 5)},
        {},
        2 * 2 * 3 * 4 * 6 * 5,
        {},
    ),
    "Einsum outer": (h.make_node("Einsum", ["x", "w"], ["y"], equation="i,j->ij"), {"x": f(2), "w": f(3)}, {}, 0, {}),
    "LSTM both ways": (
        h.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=5, direction="bidirectional"),
        {"x": f(7, 2, 3)},
        {"w": f(2, 20, 3), "r": f(2, 20, 5)},
        2 * (7 * 2 * 2 * 4 * 5 * (3 + 5)),
        {},
    ),
    "GRU": (
        h.make_node("GRU", ["x", "w", "r"], ["y"], hidden_size=5),
        {"x": f(7, 2, 3)},
        {"w": f(1, 15, 3), "r": f(1, 15, 5)},
        7 * 2 * 2 * 3 * 5 * (3 + 5),
        {},
    ),
    "MatMulInteger": (h.make_node("MatMulInteger", ["x", "w"], ["y"]), {"x": u8(2, 3)}, {"w": s8(3, 5)}, 2 * 2 * 3 * 5, {"dtype": "int32"}),
    "QLinearMatMul": (
        h.make_node("QLinearMatMul", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"]),
        {"x": u8(2, 3)},
        {"w": u8(3, 5), "s": SCALE, "z": ZERO},
        2 * 2 * 3 * 5,
        {"dtype": "uint8"},
    ),
    "ConvInteger": (h.make_node("ConvInteger", ["x", "w"], ["y"]), {"x": u8(1, 3, 8, 8)}, {"w": u8(5, 3, 3, 3)}, 2 * 5 * 36 * 27, {"dtype": "int32"}),
    "QLinearConv": (
        h.make_node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"]),
        {"x": u8(1, 3, 8, 8)},
        {"w": u8(5, 3, 3, 3), "s": SCALE, "z": ZERO},
        2 * 5 * 36 * 27,
        {"dtype": "uint8"},
    ),
    "MatMulNBits": (
        h.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=64, N=5, bits=8, block_size=32, accuracy_level=4),
        {"x": f(3, 64)},
        {"w": u8(5, 2, 32), "s": f(10)},
        2 * 3 * 64 * 5,
        {},
    ),
    "DynamicQuantizeLSTM": (
        h.make_node("DynamicQuantizeLSTM", ["x", "w", "r", "", "", "", "", "", "sw", "zw", "sr", "zr"], ["y"], domain="com.microsoft", hidden_size=5),
        {"x": f(7, 2, 3)},
        {"w": u8(1, 3, 20), "r": u8(1, 5, 20), "sw": f(1), "zw": u8(1), "sr": f(1), "zr": u8(1)},
        7 * 2 * 2 * 4 * 5 * (3 + 5),
        {},
    ),
    "FusedMatMul": (h.make_node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft", transA=1), {"x": f(3, 2), "w": f(3, 5)}, {}, 2 * 2 * 3 * 5, {}),
    "Attention": (
        h.make_node("Attention", ["q", "k", "v"], ["y"]),
        {"q": f(2, 4, 5, 8), "k": f(2, 2, 7, 8), "v": f(2, 2, 7, 6)},
        {},
        2 * 2 * 4 * 5 * 7 * (8 + 6),
        {"opset": 23},
    ),
    "Attention of joined heads": (
        h.make_node("Attention", ["q", "k", "v"], ["y"], q_num_heads=4, kv_num_heads=2),
        {"q": f(2, 5, 32), "k": f(2, 7, 16), "v": f(2, 7, 16)},
        {},
        2 * 2 * 2 * 4 * 5 * 7 * 8,
        {"opset": 23},
    ),
    "Attention over a cache, without a mask": (
        h.make_node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "k2", "v2"]),
        {"q": f(1, 2, 1, 8), "k": f(1, 2, 1, 8), "v": f(1, 2, 1, 8), "pk": f(1, 2, 9, 8), "pv": f(1, 2, 9, 8)},
        {},
        2 * 2 * 2 * 10 * 8,
        {"opset": 23},
    ),
    "MultiHeadAttention": (
        h.make_node("MultiHeadAttention", ["q", "k", "v"], ["y"], domain="com.microsoft", num_heads=4),
        {"q": f(2, 5, 32), "k": f(2, 7, 32), "v": f(2, 7, 32)},
        {},
        2 * 2 * 2 * 5 * 7 * 32,
        {},
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind(counted, name):
    nodes, feeds, weights, flops, how = KINDS[name]
    found = counted(nodes, feeds, weights, **how)
    assert (found.flops, sum(found.by_kind.values()), found.unknown) == (flops, flops, ())


def test_integers_are_told_from_floats(counted):
    for name, (nodes, feeds, weights, flops, how) in KINDS.items():
        integer = counted(nodes, feeds, weights, **how).integer_flops
        assert integer == (flops if any(word in name for word in ("Integer", "QLinear", "NBits", "Quantize")) else 0), name


def test_a_pair_that_comes_out_of_8_bits_is_integer(counted):
    dequantize = [h.make_node("DequantizeLinear", [name, "s", "z"], [f"{name}_f"]) for name in ("x", "w")]
    weights = {"w": u8(3, 5), "s": SCALE, "z": ZERO, "g": f(3, 5)}
    both = counted([*dequantize, h.make_node("MatMul", ["x_f", "w_f"], ["y"])], {"x": u8(2, 3)}, weights)
    one = counted([dequantize[0], h.make_node("MatMul", ["x_f", "g"], ["y"])], {"x": u8(2, 3)}, weights)
    assert (both.integer_flops, one.integer_flops, one.flops) == (60, 0, 60)


def test_a_batch_of_any_size(tmp_path):
    feeds = {"x": f(1, 3, 8, 8)}
    graph = save(tmp_path / "batch.onnx", [h.make_node("Conv", ["x", "w"], ["y"])], feeds, {"w": f(5, 3, 3, 3)})
    one, four = work(graph, feeds), work(graph, {"x": f(4, 3, 8, 8)})
    assert four.flops == 4 * one.flops == 4 * 2 * 5 * 36 * 27
    assert four.bytes - one.bytes == 4 * 3 * (3 * 64 + 5 * 36)


def test_a_cache_of_any_length(tmp_path):
    """One step of attention over a growing cache: it is read, and written one longer."""
    nodes = [
        h.make_node("Concat", ["past", "k"], ["present"], axis=1),
        h.make_node("Transpose", ["present"], ["turned"], perm=[0, 2, 1]),
        h.make_node("MatMul", ["q", "turned"], ["y"]),
    ]

    def feeds(length):
        return {"past": f(2, length, 8), "k": f(2, 1, 8), "q": f(2, 1, 8)}

    graph = save(tmp_path / "step.onnx", nodes, feeds(4), outputs=("y", "present"))
    for length in (4, 100):
        found = work(graph, feeds(length))
        assert found.flops == 2 * 2 * (length + 1) * 8
        assert found.bytes == 4 * (2 * 8 * (length + 1 + 1) + 2 * (length + 1) + 2 * 8 * (length + 1))


def branches(inner):
    """An If whose branches multiply by 8x16 or by 8x4."""
    return h.make_node(
        "If",
        ["c"],
        ["y"],
        **{
            f"{side}_branch": h.make_graph([h.make_node("Constant", [], ["w"], value=numpy_helper.from_array(f(8, width))), inner()], side, [], [value("z")])
            for side, width in (("then", 16), ("else", 4))
        },
    )


def test_the_branch_that_ran(counted):
    node = branches(lambda: h.make_node("MatMul", ["x", "w"], ["z"]))
    # without names both branches' nodes are called the same in the profile: the FLOPs are still those of the one that ran
    for taken, width in ((True, 16), (False, 4)):
        assert counted(node, {"x": f(3, 8), "c": np.array(taken)}).flops == 2 * 3 * 8 * width


def test_weights_of_the_branch_that_did_not_run_are_not_read(counted):
    number = iter(range(9))
    node = branches(lambda: h.make_node("MatMul", ["x", "w"], ["z"], name=f"m{next(number)}"))
    found = [counted(node, {"x": f(3, 8), "c": np.array(taken)}).bytes for taken in (True, False)]
    assert found == [4 * (3 * 8 + 8 * width + 3 * width) + 1 for width in (16, 4)]


def test_a_loop_counts_each_turn(counted):
    body = h.make_graph(
        [h.make_node("MatMul", ["a", "w"], ["b"]), h.make_node("Identity", ["on"], ["still"])],
        "body",
        [h.make_tensor_value_info("i", T.INT64, []), h.make_tensor_value_info("on", T.BOOL, []), h.make_tensor_value_info("a", T.FLOAT, None)],
        [h.make_tensor_value_info("still", T.BOOL, []), h.make_tensor_value_info("b", T.FLOAT, None)],
    )
    node = h.make_node("Loop", ["n", "", "x"], ["y"], body=body)
    for turns in (1, 7):
        found = counted(node, {"n": np.array(turns), "x": f(3, 8)}, {"w": f(8, 8)})
        assert found.flops == turns * 2 * 3 * 8 * 8
        assert found.bytes == 8 + 4 * (3 * 8 + 8 * 8 + 3 * 8)


def test_bytes_are_those_of_the_stored_types(counted):
    nodes = [h.make_node("Cast", ["w"], ["wide"], to=T.FLOAT), h.make_node("MatMul", ["x", "wide"], ["y"])]
    assert counted(nodes, {"x": f(2, 3)}, {"w": np.ones((3, 5), np.float16)}).bytes == 4 * 6 + 2 * 15 + 4 * 10
    four = h.make_tensor("w", T.UINT4, [3, 5], [1] * 15)
    nodes[0] = h.make_node("DequantizeLinear", ["w", "s"], ["wide"])
    found = counted(nodes, {"x": f(2, 3)}, {"w": four, "s": SCALE})
    assert (found.bytes, found.float_weights) == (4 * 6 + 8 + 4 + 4 * 10, 4)


def test_a_table_counts_the_rows_that_are_taken(counted):
    look = h.make_node("Gather", ["table", "ids"], ["y"], name="look")
    ids = np.array([1, 2, 2])
    assert counted(look, {"ids": ids}, {"table": f(1000, 8)}).bytes == 3 * 8 + 3 * 8 * 4 * 2
    tied = [look, h.make_node("Transpose", ["table"], ["turned"]), h.make_node("MatMul", ["y", "turned"], ["z"])]
    assert counted(tied, {"ids": ids}, {"table": f(1000, 8)}, outputs=("z",)).bytes == 3 * 8 + 1000 * 8 * 4 + 3 * 1000 * 4


def test_a_weight_that_nothing_reads_costs_nothing(counted):
    node = h.make_node("MatMul", ["x", "w"], ["y"])
    assert counted(node, {"x": f(2, 3)}, {"w": f(3, 5), "unused": f(100, 100)}).bytes == 4 * (6 + 15 + 10)


def test_weights_in_a_file_of_their_own(tmp_path):
    feeds, weights = {"x": f(2, 64)}, {"w": f(64, 128)}
    node = h.make_node("MatMul", ["x", "w"], ["y"])
    graph = save(tmp_path / "apart.onnx", [node], feeds, weights, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").stat().st_size == 64 * 128 * 4
    found = work(graph, feeds)
    assert (found.flops, found.bytes) == (2 * 2 * 64 * 128, 4 * (2 * 64 + 64 * 128 + 2 * 128))


def test_what_cannot_be_counted_is_listed(counted):
    transform = counted([h.make_node("DFT", ["x"], ["y"], axis=1), h.make_node("Identity", ["x"], ["z"])], {"x": f(1, 8, 1)}, opset=19)
    assert (transform.flops, transform.unknown) == (0, ("DFT",))
    inverse = counted(h.make_node("Inverse", ["x"], ["y"], domain="com.microsoft"), {"x": np.eye(3, dtype=np.float32)})
    assert inverse.unknown == ("com.microsoft:Inverse",)
    three = counted(h.make_node("Einsum", ["x", "x", "x"], ["y"], equation="ij,jk,kl->il"), {"x": f(3, 3)})
    assert three.unknown == ("Einsum",)


def test_nodes_that_cannot_be_told_apart_are_not_guessed(counted):
    """Two Einsums of the same name in the branches, which differ in what only their equation says."""
    equations = iter(("ab,bc->ac", "ab,bc->abc"))
    node = branches(lambda: h.make_node("Einsum", ["x", "w"], ["z"], equation=next(equations)))
    assert counted(node, {"x": f(3, 8), "c": np.array(True)}).unknown == ("Einsum",)


def test_a_nameless_node_after_a_constant_is_found(counted):
    nodes = [
        h.make_node("Constant", [], ["w"], value=numpy_helper.from_array(f(8, 4))),
        h.make_node("Einsum", ["x", "w"], ["u"], equation="ab,bc->ac"),
        h.make_node("Einsum", ["u", "u"], ["y"], equation="ab,ac->abc"),
    ]
    found = counted(nodes, {"x": f(3, 8)})
    assert (found.flops, found.unknown) == (2 * 3 * 8 * 4, ())


def test_every_operator_of_onnx_is_decided():
    standard = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    assert standard - FREE - set(RULES) == {"AffineGrid", "CausalConvWithState", "DFT", "Det", "LinearAttention", "STFT"}
    assert not FREE & set(RULES)


def test_the_package_onnx_is_not_needed(tmp_path, monkeypatch):
    feeds = {"x": f(2, 3)}
    graph = save(tmp_path / "device.onnx", [h.make_node("MatMul", ["x", "w"], ["y"])], feeds, {"w": f(3, 5)})
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnx"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert work(graph, feeds).flops == 60


def test_what_cannot_be_run_is_an_error(tmp_path):
    graph = save(tmp_path / "wrong.onnx", [h.make_node("MatMul", ["x", "w"], ["y"])], {"x": f(2, 3)}, {"w": f(4, 5)})
    with pytest.raises(MmedgeError, match="cannot run"):
        work(graph, {"x": f(2, 3)})
    (tmp_path / "wrong.onnx").write_bytes(b"no onnx")
    with pytest.raises(MmedgeError, match="cannot be read as ONNX"):
        work(graph, {"x": f(2, 3)})
