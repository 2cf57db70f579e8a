"""The rule of every kind of operator is held against a count by hand."""

from __future__ import annotations

import onnx
import onnx.defs
import pytest
from by_hand import SCALE, ZERO, f, s8, u8
from onnx import helper as h

from mmedge.profile.flop_rules import FREE, RULES

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


def test_every_operator_of_onnx_is_decided():
    standard = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    assert standard - FREE - set(RULES) == {"AffineGrid", "CausalConvWithState", "DFT", "Det", "LinearAttention", "STFT"}
    assert not FREE & set(RULES)
