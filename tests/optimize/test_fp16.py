from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_graphs import made_by, relative, types, write

from mmedge.errors import MmedgeError
from mmedge.optimize import fp16
from mmedge.optimize.half_weights import to_half
from mmedge.optimize.rounding import run, stored

RANDOM = np.random.default_rng(0)
LARGEST = np.finfo(np.float32).max


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


@pytest.fixture
def attention(tmp_path):
    """Words by their numbers, one head over them, and a mask that hides those above 2 by the least number of fp32."""
    text = """attention (int64[b, n] ids, float[b, n, 256] x) => (float[b, n, n] chances, float[b, n, 256] mixed) {
      words_at = Gather(words, ids)
      sum = Add(words_at, x)
      normed = LayerNormalization<axis=-1>(sum, scale, bias)
      q = MatMul(normed, wq)
      k = Transpose<perm=[0, 2, 1]>(normed)
      scores = MatMul(q, k)
      scaled = Mul(scores, sixteenth)
      above = Greater(ids, two)
      hidden = Where(above, least, zero)
      mask = Unsqueeze(hidden, axis1)
      masked = Add(scaled, mask)
      chances = Softmax<axis=-1>(masked)
      mixed = MatMul(chances, normed)
    }"""
    return write(
        tmp_path / "attention.onnx",
        text,
        words=normal(64, 256),
        wq=normal(256, 256) / 16,
        scale=normal(256),
        bias=normal(256),
        sixteenth=np.float32(1 / 16),
        least=-LARGEST,
        zero=np.float32(0),
        two=np.int64(2),
        axis1=np.array([1]),
    )


FEEDS = {"ids": np.array([[1, 2, 3, 0], [7, 0, 9, 63]]), "x": normal(2, 4, 256)}


@pytest.mark.parametrize("keep", [(), ("LayerNormalization", "Softmax")])
def test_a_graph_in_fp16_computes_the_same_and_weighs_half(attention, tmp_path, keep):
    made = fp16.half(attention, tmp_path / "half.onnx", keep_float=keep)
    before, after = onnx.load(attention), onnx.load(tmp_path / "half.onnx")
    onnx.checker.check_model(after, full_check=True)
    assert [*after.graph.input, *after.graph.output] == [*before.graph.input, *before.graph.output]
    assert (after.opset_import, after.ir_version) == (before.opset_import, before.ir_version)
    assert (tmp_path / "half.onnx").stat().st_size < 0.52 * attention.stat().st_size
    reference = run(attention, FEEDS)
    for name, value in run(tmp_path / "half.onnx", FEEDS).items():
        assert relative(value, reference[name]) < 2e-3
    assert made.kept_float == keep
    assert (made.nodes_half, made.nodes_float) == ((7, 5) if keep else (10, 2))  # and the transposed norms, between


def test_every_tensor_has_the_type_that_its_node_computes_in(attention, tmp_path):
    fp16.half(attention, tmp_path / "half.onnx", keep_float=("Softmax",))
    found = types(tmp_path / "half.onnx")
    assert {found[name] for name in ("words_at", "sum", "normed", "q", "scores", "scaled", "masked")} == {"FLOAT16"}
    assert {found[name] for name in ("hidden", "mask", "chances", "mixed")} == {"FLOAT"}
    assert found["ids"] == found["two"] == "INT64"


def test_names_are_unique_where_a_list_of_operators_makes_others_name_a_cast_twice(attention, tmp_path):
    """The trap of onnxruntime's converter, which NVIDIA's parser reports as a failed sort: two blocked nodes of one input."""
    float16 = pytest.importorskip("onnxruntime.transformers.float16")
    text = "g (float[n, 8] x) => (float[n, 8] y) { h = Mul(x, x)\n a = Softmax(h)\n b = Softmax<axis=0>(h)\n y = Add(a, b) }"
    path = write(tmp_path / "two.onnx", text)
    theirs = float16.convert_float_to_float16(onnx.load(path), keep_io_types=True, op_block_list=["Softmax"])
    assert max(Counter(name for node in theirs.graph.node for name in node.output).values()) == 2
    fp16.half(path, tmp_path / "half.onnx", keep_float=("Softmax",))
    ours = onnx.load(tmp_path / "half.onnx").graph
    assert max(Counter(name for node in ours.node for name in node.output).values()) == 1
    assert len([node for node in ours.node if node.op_type == "Cast" and node.input[0] == "h"]) == 1


def test_a_mask_beyond_fp16_hides_and_a_row_of_nothing_else_is_no_nan(attention, tmp_path):
    """Held where every tensor is really stored in fp16: -3.4e38 would be -inf there, and e to the power of -inf - -inf is NaN."""
    fp16.half(attention, tmp_path / "half.onnx")
    feeds = {**FEEDS, "ids": np.array([[1, 2, 3, 0], [7, 8, 9, 63]])}  # the second row hides everything from itself
    (found,) = stored(tmp_path / "half.onnx", tmp_path / "rounded.onnx", feeds, 4)
    chances = found["chances"]
    assert np.isfinite(chances).all()
    assert not chances[0, :, 2].any()
    np.testing.assert_allclose(chances.sum(-1), 1, atol=2e-3)


def test_a_mask_that_is_a_constant_of_the_operator_itself(tmp_path):
    text = "g (float[n, 4] x, bool[n, 4] seen) => (float[n, 4] y) { h = Mul(x, x)\n m = Where(seen, h, least)\n y = Softmax<axis=-1>(m) }"
    path = write(tmp_path / "where.onnx", text, least=-LARGEST)
    fp16.half(path, tmp_path / "half.onnx")
    feeds = {"x": normal(2, 4), "seen": np.array([[True, False, True, True], [False] * 4])}  # all hidden: all equal
    np.testing.assert_allclose(run(tmp_path / "half.onnx", feeds)["y"], run(path, feeds)["y"], atol=2e-3)
    (constant,) = (numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "half.onnx").graph.initializer)
    assert constant.shape == ()
    assert constant == np.float16(-fp16.MASKED)


def test_constants_outside_the_range():
    array = np.float32([1e6, -1e6, np.inf, -np.inf, np.nan, 1e-12, 1.5])
    np.testing.assert_array_equal(to_half(array), np.float16([65504, -65504, np.inf, -np.inf, np.nan, 0, 1.5]))
    assert to_half(np.float32(1e-12)) > 0  # an epsilon that keeps a division from zero
    assert to_half(np.float32(-1e-12)) < 0
    assert to_half(np.float32(0)) == 0
    assert to_half(np.float32(0.1)).shape == ()


def test_a_bound_of_clip_is_no_mask(tmp_path):
    path = write(tmp_path / "clip.onnx", "g (float[n] x) => (float[n] y) { y = Clip(x, zero, largest) }", zero=np.float32(0), largest=LARGEST)
    fp16.half(path, tmp_path / "half.onnx")
    feeds = {"x": np.float32([-1, 30000])}
    np.testing.assert_array_equal(run(tmp_path / "half.onnx", feeds)["y"], [0, 30000])


def test_an_epsilon_in_fp16_is_not_zero(tmp_path):
    path = write(tmp_path / "safe.onnx", "g (float[n] x) => (float[n] y) { s = Max(x, epsilon)\n y = Div(x, s) }", epsilon=np.float32(1e-12))
    fp16.half(path, tmp_path / "half.onnx")
    np.testing.assert_array_equal(run(tmp_path / "half.onnx", {"x": np.float32([0, 2])})["y"], [0, 1])


def test_an_epsilon_stays_in_fp32_between_kept_nodes(tmp_path):
    text = """g (float[n, 8] x) => (float[n, 8] y) {
      square = Mul(x, x)
      mean = ReduceMean<keepdims=1>(square, last)
      more = Add(mean, epsilon)
      root = Sqrt(more)
      y = Div(x, root)
    }"""
    path = write(tmp_path / "norm.onnx", text, epsilon=np.float32(1e-12), last=np.array([-1]))
    made = fp16.half(path, tmp_path / "half.onnx", keep_float=("ReduceMean",))
    found = types(tmp_path / "half.onnx")
    assert [found[name] for name in ("square", "mean", "more", "root", "y_fp16")] == ["FLOAT"] * 4 + ["FLOAT16"]
    assert made.nodes_half == 1
    x = normal(3, 8) * 1e-3
    assert relative(run(tmp_path / "half.onnx", {"x": x})["y"], run(path, {"x": x})["y"]) < 2e-3


def test_positions_are_reckoned_in_fp32(tmp_path):
    """Angles of position 4000 would be off by a radian in fp16."""
    text = """g (int64[n] ids, float[n, 4] x) => (float[n, 4] y) {
      at = Cast<to=1>(ids)
      column = Unsqueeze(at, axis1)
      angle = Mul(column, frequency)
      wave = Cos(angle)
      y = Mul(x, wave)
    }"""
    path = write(tmp_path / "rope.onnx", text, frequency=np.float32([1, 0.9, 0.5, 0.1]), axis1=np.array([1]))
    fp16.half(path, tmp_path / "half.onnx")
    feeds = {"ids": np.arange(3900, 4000), "x": normal(100, 4)}
    assert relative(run(tmp_path / "half.onnx", feeds)["y"], run(path, feeds)["y"]) < 2e-3
    assert types(tmp_path / "half.onnx")["wave"] == "FLOAT"


def test_numbers_are_compared_in_fp32_where_they_are_counted(tmp_path):
    """fp16 holds 2049 as 2048."""
    text = "g (int64[n] ids, float[n] x) => (float[n] y) { at = Cast<to=1>(ids)\n late = Greater(at, limit)\n y = Where(late, x, zero) }"
    path = write(tmp_path / "late.onnx", text, limit=np.float32(2048), zero=np.float32(0))
    fp16.half(path, tmp_path / "half.onnx")
    np.testing.assert_array_equal(run(tmp_path / "half.onnx", {"ids": np.array([2048, 2049]), "x": np.float32([1, 1])})["y"], [0, 1])


def test_a_constant_of_fp16_and_fp32_nodes_is_there_in_both(tmp_path):
    text = "g (float[n, 64] x) => (float[n, 64] y) { a = MatMul(x, w)\n p = Pow(x, two)\n b = MatMul(p, w)\n s = Add(a, b)\n y = Softmax(s) }"
    weight = normal(64, 64)
    path = write(tmp_path / "shared.onnx", text.replace("b = MatMul(p, w)", "[late] b = MatMul(p, w)"), w=weight, two=np.float32(2))
    made = fp16.half(path, tmp_path / "half.onnx", keep_float=("late",))
    assert made.kept_float == ("late",)
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "half.onnx").graph.initializer}
    np.testing.assert_array_equal(found["w"], weight)
    np.testing.assert_array_equal(found["w_fp16"], weight.astype(np.float16))
    assert types(tmp_path / "half.onnx")["b"] == "FLOAT"


def test_what_the_schema_wants_in_fp32_stays(tmp_path):
    text = 'g (float[1, 1, h, w] x, float last) => (float[1, 1, a, b] y, float[c] r) { y = Resize<mode="linear">(x, , scales)\n r = Range(zero, last, one) }'
    path = write(tmp_path / "resize.onnx", text, scales=np.float32([1, 1, 2, 2]), zero=np.float32(0), one=np.float32(1))
    fp16.half(path, tmp_path / "half.onnx")
    found = types(tmp_path / "half.onnx")
    assert (found["scales"], found["y_fp16"], found["r"]) == ("FLOAT", "FLOAT16", "FLOAT")
    feeds = {"x": normal(1, 1, 3, 3), "last": np.array(2100, np.float32)}
    got, wanted = run(tmp_path / "half.onnx", feeds), run(path, feeds)
    assert relative(got["y"], wanted["y"]) < 2e-3
    np.testing.assert_array_equal(got["r"], wanted["r"])


@pytest.mark.parametrize(
    ("opset", "write_cache", "replaced"),
    [
        (18, "present = Concat<axis=1>(past, new)", 0),
        (18, "present = ScatterND(past, at, new)", 8),
        (24, "present = TensorScatter(past, new, start)", 8),
    ],
)
def test_a_cache_is_written_in_fp32_and_read_in_fp16(tmp_path, opset, write_cache, replaced):
    text = f"""g (float[1, 3, 8] past, float[1, 1, 8] x) => (float[1, m, 8] present, float[1, m, 8] y) {{
      new = MatMul(x, w)
      {write_cache}
      y = MatMul(present, w)
    }}"""
    constants = {"at": np.array([[[0, 1]]]), "start": np.array([1])}
    used = {name: value for name, value in constants.items() if name in write_cache}
    path = write(tmp_path / "cache.onnx", text, opset, w=normal(8, 8), **used)
    made = fp16.half(path, tmp_path / "half.onnx")
    assert made.caches == 1
    feeds = {"past": normal(1, 3, 8), "x": normal(1, 1, 8)}
    got, wanted = run(tmp_path / "half.onnx", feeds), run(path, feeds)
    assert np.isin(feeds["past"], got["present"]).sum() == feeds["past"].size - replaced  # as they came, to the last bit
    assert relative(got["y"], wanted["y"]) < 2e-3
    found = types(tmp_path / "half.onnx")
    assert (found["present"], found["new"], found["present_fp16"]) == ("FLOAT", "FLOAT16", "FLOAT16")


def test_outputs_that_are_used_inside_or_given_twice(tmp_path):
    text = "g (float[n] x) => (float[n] y, float[n] z, float[n] s) { y = Mul(x, x)\n z = Identity(y)\n s = Sqrt(y) }"
    path = write(tmp_path / "used.onnx", text)
    fp16.half(path, tmp_path / "half.onnx", keep_float=("Sqrt",))
    assert len(made_by(tmp_path / "half.onnx", "Cast")) == 3  # x to fp16; y and z to fp32, and Sqrt takes y
    got = run(tmp_path / "half.onnx", {"x": np.float32([1, 2])})
    assert {name: value.tolist() for name, value in got.items()} == {"y": [1, 4], "z": [1, 4], "s": [1, 2]}


def test_subgraphs_are_refused(tmp_path):
    out = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["r"])], "branch", [], [out])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    c = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    onnx.save(helper.make_model(helper.make_graph([node], "g", [c, x], [y]), opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "if.onnx")
    with pytest.raises(MmedgeError, match=r"if\.onnx holds subgraphs or functions"):
        fp16.half(tmp_path / "if.onnx", tmp_path / "half.onnx")


def test_operators_of_others_are_refused(tmp_path):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")], "g", [x], [y])
    ids = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=ids), tmp_path / "gelu.onnx")
    with pytest.raises(MmedgeError, match=r"gelu\.onnx holds Gelu of com.microsoft"):
        fp16.half(tmp_path / "gelu.onnx", tmp_path / "half.onnx")


def test_what_is_no_onnx_is_refused(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"not ONNX at all")
    with pytest.raises(MmedgeError, match=r"bad\.onnx is not a valid ONNX file"):
        fp16.half(tmp_path / "bad.onnx", tmp_path / "half.onnx")
    assert not (tmp_path / "half.onnx").exists()
