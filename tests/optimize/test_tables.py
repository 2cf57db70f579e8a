from __future__ import annotations

import platform

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_graphs import relative, share, types, write

from mmedge.backends.tensorrt.build import build
from mmedge.optimize import fp16
from mmedge.optimize.half_weights import HalfWeights
from mmedge.optimize.rounding import run
from mmedge.runner import Graph
from mmedge.tensors import TensorSpec

RANDOM = np.random.default_rng(0)
WIDTH = 64
TEXT = """g (int64[1, n] ids) => (float[1, n, ROWS] logits, float[1, n] best) {
  at = Gather(words, ids)
  x = Relu(at)
  t = Transpose(words)
  logits = MatMul(x, t)
  best = ReduceMax<keepdims=0>(logits, last)
}"""
"""A decoder's first and last step, with one table for both."""
FEEDS = {"ids": np.array([[0, 100, 7, 100]])}


def tied(path, rows, text=TEXT):
    words = RANDOM.standard_normal((rows, WIDTH)).astype(np.float32)
    return write(path, text.replace("ROWS", str(rows)), words=words, last=np.array([-1]))


def tables(path):
    """The shapes of all tensors of two dimensions."""
    return [tuple(one.dims) for one in onnx.load(path, load_external_data=False).graph.initializer if len(one.dims) == 2]


@pytest.mark.parametrize("keep", [(), ("Gather", "Transpose", "MatMul")])
@pytest.mark.parametrize(("rows", "padded"), [(101, 104), (103, 104), (104, 104)])
def test_a_table_has_rows_that_nothing_outside_sees(tmp_path, rows, padded, keep):
    path = tied(tmp_path / "a.onnx", rows)
    fp16.half(path, tmp_path / "half.onnx", keep_float=keep)
    assert (padded, WIDTH) in tables(tmp_path / "half.onnx")
    types(tmp_path / "half.onnx")  # every shape that the file states is what onnx infers
    got, wanted = run(tmp_path / "half.onnx", FEEDS), run(path, FEEDS)
    for name, value in wanted.items():
        assert got[name].shape == value.shape
        assert relative(got[name], value) < 2e-3


def test_no_row_of_zeros_wins(tmp_path):
    """A product with a row of zeros is more than all others where these are negative."""
    text = "g (int64[1, n] ids) => (float[1, n] best) { at = Gather(words, ids)\n x = Neg(at)\n t = Transpose(words)\n all = MatMul(x, t)\n"
    path = write(tmp_path / "a.onnx", text + "best = ReduceMax<keepdims=0>(all, last) }", words=np.ones((101, WIDTH), np.float32), last=np.array([-1]))
    fp16.half(path, tmp_path / "half.onnx")
    assert tables(tmp_path / "half.onnx") == [(104, WIDTH)]
    np.testing.assert_array_equal(run(tmp_path / "half.onnx", FEEDS)["best"], np.full((1, 4), -WIDTH))


def test_a_product_of_unknown_rank_is_cut_too(tmp_path):
    text = "g (int64[1, n] ids, int64[k] form) => (float[1, n] best) { at = Gather(words, ids)\n x = Reshape(at, form)\n t = Transpose(words)\n"
    text += "logits = MatMul(x, t)\n best = ReduceMax<keepdims=0>(logits, last) }"
    path = write(tmp_path / "a.onnx", text, words=RANDOM.standard_normal((101, WIDTH)).astype(np.float32), last=np.array([-1]))
    fp16.half(path, tmp_path / "half.onnx")
    assert tables(tmp_path / "half.onnx") == [(104, WIDTH)]
    feeds = {**FEEDS, "form": np.array([1, 4, WIDTH])}
    assert relative(run(tmp_path / "half.onnx", feeds)["best"], run(path, feeds)["best"]) < 2e-3


@pytest.mark.parametrize(
    "text",
    [
        "g (int64[1, n] ids) => (float[1, n, 64] y) { y = Gather(words, ids) }",
        "g (float[1, n, 64] x) => (float[1, n, 101] y) { t = Transpose(words)\n y = MatMul(x, t) }",
        "g (int64[1, n] ids) => (float[1, n, 64] x, float[64, 64] y) { x = Gather(words, ids)\n t = Transpose(words)\n y = MatMul(t, words) }",
        "g (int64[1, n] ids) => (float[1, n, 64] x, float[64, 101] t) { x = Gather(words, ids)\n t = Transpose(words) }",
        "g (int64[1, n] ids) => (float[64, n] x) { t = Transpose(words)\n l = Gather<axis=1>(t, ids)\n x = Squeeze(l, axes) }",
        "g (int64[n] ids, float[n, 101] h) => (float[n, 64] x, float[n, 64] y) { x = Gather(words, ids)\n y = MatMul(h, words) }",
    ],
)
def test_a_table_that_is_used_otherwise_stays_as_it_is(tmp_path, text):
    constants = {"axes": np.array([1])} if "axes" in text else {}
    path = write(tmp_path / "a.onnx", text, words=RANDOM.standard_normal((101, WIDTH)).astype(np.float32), **constants)
    fp16.half(path, tmp_path / "half.onnx")
    assert tables(tmp_path / "half.onnx") == [(101, WIDTH)]


def test_two_forms_of_a_graph_share_the_table_with_its_rows(tmp_path):
    """A form that only looks up takes the same bytes without them."""
    paths = [tied(tmp_path / "a.onnx", 101)]
    words = numpy_helper.to_array(onnx.load(paths[0]).graph.initializer[0])
    later = RANDOM.standard_normal((WIDTH, WIDTH)).astype(np.float32)
    text = "g (int64[1, n] ids) => (float[1, n, 64] y) { at = Gather(words, ids)\n y = MatMul(at, later) }"
    paths.append(write(tmp_path / "b.onnx", text, words=words, later=later))
    share(paths, tmp_path / "weights.bin")
    (tmp_path / "made").mkdir()
    weights = HalfWeights(paths).at(tmp_path / "made" / "half.bin")
    weights.write(weights.path)
    assert weights.path.stat().st_size == weights.size_bytes
    for path, rows in zip(paths, (104, 101)):
        fp16.half(path, tmp_path / "made" / path.name, weights=weights)
        assert (rows, WIDTH) in tables(tmp_path / "made" / path.name)
        assert (tmp_path / "made" / path.name).stat().st_size < 2000
        got, wanted = run(tmp_path / "made" / path.name, FEEDS), run(path, FEEDS)
        assert all(relative(got[name], wanted[name]) < 2e-3 for name in wanted)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorRT for RTX has wheels for x86-64 only")
def test_an_engine_holds_the_table_once(tmp_path):
    rows = 20001
    path = tied(tmp_path / "a.onnx", rows)
    fp16.half(path, tmp_path / "half.onnx")
    graph = Graph(tmp_path / "half.onnx", "", (TensorSpec("ids", "int64", (1, "n")),), (TensorSpec("logits", "float32", (1, "n", rows)),))
    made = build(graph, "fp16", flavour="rtx", shapes={"ids": ((1, 1), (1, 1), (1, 4))}, capability="8.6")
    assert made.size_bytes < 1.3 * rows * WIDTH * 2
