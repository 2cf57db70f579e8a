"""Outputs that become inputs, on every backend: the same as through numpy, for caches that grow and for those of fixed length."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mmedge.build.trace import read_graph
from mmedge.errors import MmedgeError
from mmedge.runner import Candidate, Copied, Engine, backend_names, load_backend
from mmedge.target import Target

TARGET = Target(name="test", summary="", backends=("null",), max_opset=24, max_ir=10)
HEADS, WIDTH, LENGTH, STEPS = 2, 4, 12, 6
PAIRS = {"present_key_0": "past_key_0", "present_value_0": "past_value_0"}
FORMS = ("growing", "ScatterND", "TensorScatter")


def decoder(form, path):
    """A step of something like attention: key and value rows from ``x`` go into the cache, and what comes out depends on all of it and on ``heard``."""
    random = np.random.default_rng(0)
    dims = [1, HEADS, "past" if form == "growing" else LENGTH, WIDTH]
    weights = {f"w_{part}": random.standard_normal((WIDTH, WIDTH)).astype(np.float32) for part in ("key", "value")}
    nodes = []
    for part in ("key", "value"):
        past, rows, present = f"past_{part}_0", f"rows_{part}", f"present_{part}_0"
        nodes.append(helper.make_node("MatMul", ["x", f"w_{part}"], [rows]))
        if form == "growing":
            nodes.append(helper.make_node("Concat", [past, rows], [present], axis=2))
        elif form == "TensorScatter":
            nodes.append(helper.make_node("TensorScatter", [past, rows, "past_length"], [present], axis=-2))
        else:  # rows to the front, written at past_length, and back
            nodes += [
                helper.make_node("Transpose", [past], [f"{past}_t"], perm=[2, 0, 1, 3]),
                helper.make_node("Transpose", [rows], [f"{rows}_t"], perm=[2, 0, 1, 3]),
                helper.make_node("Shape", [f"{rows}_t"], [f"{rows}_n"], start=0, end=1),
                helper.make_node("Squeeze", [f"{rows}_n"], [f"{rows}_s"]),
                helper.make_node("Range", ["zero", f"{rows}_s", "one"], [f"{rows}_r"]),
                helper.make_node("Add", [f"{rows}_r", "past_length"], [f"{rows}_i"]),
                helper.make_node("Unsqueeze", [f"{rows}_i", "last"], [f"{rows}_u"]),
                helper.make_node("ScatterND", [f"{past}_t", f"{rows}_u", f"{rows}_t"], [f"{present}_t"]),
                helper.make_node("Transpose", [f"{present}_t"], [present], perm=[1, 2, 0, 3]),
            ]
    nodes += [
        helper.make_node("Tanh", ["present_key_0"], ["bent"]),
        helper.make_node("Mul", ["bent", "present_value_0"], ["mixed"]),
        helper.make_node("ReduceSum", ["mixed", "axis"], ["summed"], keepdims=0),
        helper.make_node("Add", ["summed", "heard"], ["logits"]),
    ]
    constants = {"zero": np.array(0), "one": np.array(1), "last": np.array([1]), "axis": np.array([2])}
    inputs = [("x", [1, HEADS, "tokens", WIDTH]), *((name, dims) for name in PAIRS.values()), ("heard", [1, HEADS, WIDTH])]
    outputs = [("logits", [1, HEADS, WIDTH]), *((name, [*dims[:2], "total" if form == "growing" else LENGTH, WIDTH]) for name in PAIRS)]
    graph = helper.make_graph(
        nodes,
        "decoder",
        [
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs),
            *([] if form == "growing" else [helper.make_tensor_value_info("past_length", TensorProto.INT64, [1])]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in {**weights, **constants}.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24 if form == "TensorScatter" else 18)], ir_version=10), path)
    return read_graph(path)


class Text:
    """What one sequence of runs is fed: a prompt of three rows and five single ones, and what is heard all the while."""

    def __init__(self, seed, form):
        random = np.random.default_rng(seed)
        self.rows = [random.standard_normal((1, HEADS, 3 if step == 0 else 1, WIDTH)).astype(np.float32) for step in range(STEPS)]
        self.form, self.heard = form, random.standard_normal((1, HEADS, WIDTH)).astype(np.float32)

    def start(self):
        empty = np.zeros((1, HEADS, 0 if self.form == "growing" else LENGTH, WIDTH), np.float32)
        return {"past_key_0": empty, "past_value_0": empty.copy(), "heard": self.heard}

    def feeds(self, step):
        length = np.array([0 if step == 0 else step + 2])
        return {"x": self.rows[step], **({} if self.form == "growing" else {"past_length": length})}

    def __iter__(self):
        return (self.feeds(step) for step in range(STEPS))


@pytest.fixture(params=backend_names())
def opened(request, tmp_path):
    """Opens the decoder in one form on one backend."""
    backend = load_backend(request.param)
    if not backend.probe().available:
        pytest.skip(backend.probe().reason)
    runners = []

    def open_(form):
        graph = decoder(form, tmp_path / f"{form}.onnx")
        try:
            runners.append(backend.open(Engine(Candidate(graph, "fp32")), TARGET))
            if request.param != "null":
                runners[-1].run({**Text(0, form).start(), **Text(0, form).feeds(0)})
        except (MmedgeError, NotImplementedError) as error:
            if (request.param, form) != ("openvino", "TensorScatter"):  # it reads no opset 24; every other backend must
                raise
            pytest.skip(str(error).splitlines()[0])
        return runners[-1]

    yield open_
    for runner in runners:
        runner.__exit__(None, None, None)


def expected(form, text):
    """In numpy."""
    random, results = np.random.default_rng(0), []
    weights = [random.standard_normal((WIDTH, WIDTH)).astype(np.float32) for _ in range(2)]
    cache = [np.zeros((1, HEADS, 0, WIDTH), np.float32)] * 2
    for rows in text.rows:
        cache = [np.concatenate([past, rows @ weight], axis=2) for past, weight in zip(cache, weights)]
        results.append((np.tanh(cache[0]) * cache[1]).sum(2) + text.heard)
    return results


@pytest.mark.parametrize("form", FORMS)
def test_carried_runs_are_plain_runs(opened, form):
    runner, text = opened(form), Text(1, form)
    plain = [one["logits"].copy() for one in map(Copied(runner, PAIRS, text.start()).run, text)]
    carried = runner.carry(PAIRS, text.start())
    results = [carried.run(feeds) for feeds in text]
    assert all(set(one) == {"logits"} for one in results)
    for one, other, right in zip(results, plain, expected(form, text)):
        np.testing.assert_allclose(one["logits"], other, rtol=0, atol=1e-6)
        if type(runner).__name__ != "NullRunner":
            np.testing.assert_allclose(one["logits"], right, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_one_text_after_another_begins_anew(opened, form):
    runner, first, second = opened(form), Text(1, form), Text(2, form)
    alone = [runner.carry(PAIRS, second.start()).run(second.feeds(0))["logits"]]
    for feeds in list(first)[:4]:
        runner.carry(PAIRS, first.start()).run(feeds)
    carried = runner.carry(PAIRS, first.start())
    for feeds in first:
        carried.run(feeds)
    again = runner.carry(PAIRS, second.start())
    results = [again.run(feeds)["logits"] for feeds in second]
    np.testing.assert_array_equal(results[0], alone[0])
    if type(runner).__name__ != "NullRunner":
        np.testing.assert_allclose(results, expected(form, second), rtol=0, atol=1e-5)
        assert not np.allclose(results[-1], expected(form, first)[-1])


def test_a_start_that_is_not_empty_and_arrays_that_are_only_read(opened):
    runner, text = opened("growing"), Text(3, "growing")
    random = np.random.default_rng(4)
    start = {**text.start(), **{name: random.standard_normal((1, HEADS, 2, WIDTH)).astype(np.float32) for name in PAIRS.values()}}
    kept = {name: array.copy() for name, array in start.items()}
    plain, carried = Copied(runner, PAIRS, start), runner.carry(PAIRS, start)
    for feeds in text:
        np.testing.assert_allclose(carried.run(feeds)["logits"], plain.run(feeds)["logits"], rtol=0, atol=1e-6)
    assert all(np.array_equal(kept[name], start[name]) for name in start)


@pytest.mark.parametrize("form", ["growing", "ScatterND"])
def test_plain_runs_work_before_between_and_after(opened, form):
    runner, text = opened(form), Text(5, form)
    plain = runner.run({**text.start(), **text.feeds(0)})["logits"].copy()
    carried = runner.carry(PAIRS, text.start())
    first = carried.run(text.feeds(0))["logits"].copy()
    again = runner.run({**text.start(), **text.feeds(0)})
    assert set(again) == {"logits", *PAIRS}
    np.testing.assert_allclose(first, plain, rtol=0, atol=1e-6)
    np.testing.assert_allclose(again["logits"], plain, rtol=0, atol=1e-6)
    second = carried.run(text.feeds(1))["logits"]
    if type(runner).__name__ != "NullRunner":
        np.testing.assert_allclose(second, expected(form, text)[1], rtol=0, atol=1e-5)


def test_results_outlive_the_next_run(opened):
    runner, text = opened("growing"), Text(6, "growing")
    carried = runner.carry(PAIRS, text.start())
    first = carried.run(text.feeds(0))["logits"]
    kept = first.copy()
    carried.run(text.feeds(1))
    assert runner.reuses_outputs or np.array_equal(first, kept)


def test_feeds_that_do_not_fit_are_named(opened):
    runner, text = opened("growing"), Text(7, "growing")
    start = text.start()
    with pytest.raises(MmedgeError, match="past_value_0 was not given"):
        runner.carry(PAIRS, {name: array for name, array in start.items() if name != "past_value_0"})
    with pytest.raises(MmedgeError, match="no input nothing"):
        runner.carry(PAIRS, {**start, "nothing": start["heard"]})
    with pytest.raises(MmedgeError, match="heard is float64, the graph takes float32"):
        runner.carry(PAIRS, {**start, "heard": start["heard"].astype(np.float64)})
    carried = runner.carry(PAIRS, start)
    with pytest.raises(MmedgeError, match="input x was not given"):
        carried.run({})
    with pytest.raises(MmedgeError, match="no input past_key_0"):
        carried.run({**text.feeds(0), "past_key_0": start["past_key_0"]})
    with pytest.raises(MmedgeError, match=r"input x has shape \[1, 2, 4\]"):
        carried.run({"x": start["heard"]})
    unheard = runner.carry(PAIRS, {name: array for name, array in start.items() if name != "heard"})
    assert unheard.run({**text.feeds(0), "heard": text.heard})["logits"].shape == (1, HEADS, WIDTH)
