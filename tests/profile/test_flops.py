"""FLOPs and bytes of a whole graph are held against counts by hand: batches, caches, branches, loops, tables, what is stored in which type."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from by_hand import SCALE, ZERO, f, save, u8, value
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

from mmedge.errors import MmedgeError
from mmedge.profile.flops import work


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
