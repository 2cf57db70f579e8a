"""The rules that every runner keeps (tests/contract), by the one for TensorRT: over a stand-in for TensorRT and CUDA, because no GPU is at hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from backends.tensorrt import stand_in, stand_in_engine
from contract import test_backends, test_carry

from mmedge.backends.tensorrt import profiling
from mmedge.backends.tensorrt.runner import TensorrtRunner
from mmedge.bundle import Bundle
from mmedge.runner import Engine

MOST = {"tokens": (1, 1, 4), "past": (0, 4, 16), "batch": (1, 1, 4)}
DETAILS = [
    {"Name": "square", "LayerType": "MatMul", "Outputs": [{"Format/Datatype": "Float"}], "Metadata": "[ONNX Layer: square]"},
    {"Name": "normalise", "LayerType": "Softmax", "Outputs": [{"Format/Datatype": "Float"}], "Metadata": "[ONNX Layer: normalise]"},
]


def opened(graph, **how):
    """The runner of an engine that the stand-in has made of a graph."""
    ranges = {spec.name: [[size if isinstance(size, int) else MOST[size][side] for size in spec.shape] for side in range(3)] for spec in graph.inputs}
    dynamic = {name: shapes for name, shapes in ranges.items() if shapes[0] != shapes[2]}
    options = {name: how.pop(name) for name in ("cuda_graph", "flavour") if name in how}
    flavour = options.pop("flavour", "tensorrt")
    path = stand_in_engine.plan(graph.path.with_suffix(".plan"), graph, profile=dynamic, **{"layers": DETAILS, **how})
    return TensorrtRunner(path, graph, flavour, **options)


@pytest.fixture
def gpu(monkeypatch):
    gpu = stand_in.install(monkeypatch)
    yield gpu
    assert gpu.left() == []


@pytest.fixture(name="opened")
def _opened(gpu, tmp_path):
    """Opens the decoder of tests/contract/test_carry.py. TensorScatter is written in place, as TensorRT does it."""
    runners = []

    def open_(form):
        graph = test_carry.decoder(form, tmp_path / f"{form}.onnx")
        runners.append(opened(graph, alias=test_carry.PAIRS if form == "TensorScatter" else {}))
        return runners[-1]

    yield open_
    for runner in runners:
        runner.__exit__(None, None, None)


@pytest.fixture
def backend(gpu):
    def operators(engine, target, feeds, runs):
        with opened(engine.candidate.graph, cuda_graph=False) as runner:
            return profiling.operated(runner, feeds, runs)

    module = SimpleNamespace(
        candidates=lambda graph, target: [test_backends.Candidate(graph, "fp32")],
        compile=lambda candidate, target, out: Engine(candidate),
        open=lambda engine, target: opened(engine.candidate.graph),
        operators=operators,
    )
    return "tensorrt", module


@pytest.fixture
def graph(toy_bundle):
    return Bundle.open(toy_bundle).graph("eyes", "image_encoder")


square = test_backends.square

test_carried_runs_are_plain_runs = test_carry.test_carried_runs_are_plain_runs
test_one_text_after_another_begins_anew = test_carry.test_one_text_after_another_begins_anew
test_a_start_that_is_not_empty_and_arrays_that_are_only_read = test_carry.test_a_start_that_is_not_empty_and_arrays_that_are_only_read
test_plain_runs_work_before_between_and_after = test_carry.test_plain_runs_work_before_between_and_after
test_results_outlive_the_next_run = test_carry.test_results_outlive_the_next_run
test_feeds_that_do_not_fit_are_named = test_carry.test_feeds_that_do_not_fit_are_named

test_it_runs_a_graph_as_declared = test_backends.test_it_runs_a_graph_as_declared
test_it_refuses_wrong_feeds_in_the_same_words = test_backends.test_it_refuses_wrong_feeds_in_the_same_words
test_it_says_what_it_executes = test_backends.test_it_says_what_it_executes
test_it_tells_apart_its_operators_or_says_that_it_cannot = test_backends.test_it_tells_apart_its_operators_or_says_that_it_cannot
