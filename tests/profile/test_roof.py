"""The rules of the roof with rates that are given; real kernels only where the backend's own behaviour is the point."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

from mmedge.errors import MmedgeError
from mmedge.manifest import File, Placement
from mmedge.profile.flops import Work
from mmedge.profile.kernels import Kernel, fastest_s
from mmedge.profile.machine import machine
from mmedge.profile.peaks import AGAIN_S, EFFORT_S, SECOND_EFFORT_S, Measured, Place, bandwidth, identity, peaks
from mmedge.profile.report import Latency
from mmedge.profile.roof import roof
from mmedge.runner import Candidate, Engine, Graph, load_backend
from mmedge.target import Target
from mmedge.tensors import TensorSpec

MB = 1 << 20
CPU = Target(name="hand", summary="", backends=("ort",), precisions={"ort": ("fp32", "int8")}, max_opset=21, max_ir=10)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "roof"


@pytest.fixture
def graph(tmp_path):
    """Which one is no matter: its work is given too."""
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"0" * 100)
    return Graph(path, "", (), ())


def placed(precision="fp32", backend="ort", file=None):
    return Placement(state="ready", backend=backend, precision=precision, reason="", file=file)


def took(ms):
    return Latency(n=10, p50_ms=ms, min_ms=ms, max_ms=ms)


class Ruler:
    """Answers with given rates: GFLOP/s by precision, the next ones for the next measurement; every working set at the same GB/s."""

    def __init__(self, gb_s=10.0, crowded="", **gflops_s):
        self._gflops_s, self._gb_s, self._crowded = {name: list(rates) for name, rates in gflops_s.items()}, gb_s, crowded
        self.asked = []

    def __call__(self, place, precision, effort_s):
        self.asked.append((precision, effort_s))
        rates = self._gflops_s.get(precision)
        if not rates:
            return Measured({}, {})
        return Measured({"kernel": rates.pop(0) if len(rates) > 1 else rates[0]}, {"stream": {MB: self._gb_s}}, self._crowded)


def held(graph, ms, ruler, *, flops=10**9, size=10**6, where=None, target=CPU, **more):
    where = where or placed()
    return roof(graph, {}, took(ms), where, target, count=lambda graph, feeds: Work(flops, size, {}, **more), measure=ruler)


def test_the_share_of_the_roof(graph):
    """1 GFLOP at 100 GFLOP/s takes 10 ms, 1 MB at 10 GB/s takes 0.1 ms."""
    found = held(graph, 40.0, Ruler(fp32=[100.0]))
    assert (found.least_ms, found.percent, found.bound, found.gflops_s, found.gb_s) == (10.0, 25.0, "compute", 100.0, 10.0)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_what_was_quantized_is_held_to_the_roof_of_integers(graph, precision):
    """Its FLOPs are those of the graph in fp32."""
    where = placed(precision).model_copy(update={"made_of": "0" * 64})
    found = held(graph, 10.0, Ruler(fp32=[100.0], int8=[400.0]), where=where)
    assert (found.flops, found.least_ms, found.percent) == (10**9, 2.5, 25.0)
    assert "all of it is held to the roof of int8" in found.next


def test_bound_by_memory(graph):
    found = held(graph, 40.0, Ruler(fp32=[100.0]), flops=10**6, size=10**8)
    assert (found.least_ms, found.percent, found.bound) == (10.0, 25.0, "bandwidth")


def test_a_roof_below_the_graph_is_measured_again(graph):
    ruler = Ruler(fp32=[100.0, 200.0])
    found = held(graph, 8.0, ruler)
    assert ruler.asked[:2] == [("fp32", EFFORT_S), ("fp32", SECOND_EFFORT_S)]
    assert (found.least_ms, found.percent) == (5.0, 62.5)


def test_what_was_better_is_kept(graph):
    held(graph, 8.0, Ruler(fp32=[100.0, 200.0]))
    ruler = Ruler(fp32=[50.0])
    assert held(graph, 8.0, ruler).percent == 62.5
    assert ("fp32", EFFORT_S) not in ruler.asked
    assert held(graph, 4.0, ruler).percent is None  # measured again at 50: the 200 stay
    assert held(graph, 8.0, ruler).gflops_s == 200.0


def test_still_above_the_roof_there_is_no_share(graph):
    ruler = Ruler(fp32=[100.0])
    found = held(graph, 8.0, ruler)
    assert found.percent is None and found.least_ms == 10.0
    assert found.next.startswith("the graph was faster than the roof, also when that was measured again")
    assert [effort for precision, effort in ruler.asked if precision == "fp32"] == [EFFORT_S, SECOND_EFFORT_S]


def test_measured_once_for_all_graphs(graph, own_cache):
    ruler = Ruler(fp32=[100.0], int8=[400.0])
    first, second = held(graph, 40.0, ruler), held(graph, 20.0, ruler, flops=10**8)
    assert ruler.asked == [("fp32", EFFORT_S), ("int8", EFFORT_S)]
    assert (first.percent, second.percent) == (25.0, 5.0)
    assert len(list(own_cache.iterdir())) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace("100.0", "-1.0"),
        lambda text: text.replace("100.0", "NaN"),
        lambda text: text.replace('"gflops_s"', '"gflops"'),
        lambda text: json.dumps({**json.loads(text), "key": {"cpu": "another"}}),
    ],
    ids=["empty", "cut", "no object", "negative", "no number", "another key", "foreign"],
)
def test_a_damaged_or_foreign_file_is_measured_again(graph, own_cache, damage):
    held(graph, 40.0, Ruler(fp32=[100.0]))
    for path in own_cache.iterdir():
        path.write_text(damage(path.read_text()))
    ruler = Ruler(fp32=[200.0])
    assert held(graph, 40.0, ruler).gflops_s == 200.0
    assert held(graph, 40.0, ruler).gflops_s == 200.0
    assert [precision for precision, _ in ruler.asked].count("fp32") == 1


def test_a_cache_that_cannot_be_written_is_done_without(graph, own_cache):
    own_cache.parent.mkdir()
    own_cache.write_text("a file where the folder should be")
    ruler = Ruler(fp32=[100.0])
    assert [held(graph, 40.0, ruler).percent for _ in range(2)] == [25.0, 25.0]
    assert len(ruler.asked) > 2


def test_a_crowded_measurement_is_said_and_repeated_later():
    place, now = Place("ort", "fp32", CPU, 100), [1e9]
    busy, quiet = Ruler(fp32=[100.0], crowded="others used 1 core"), Ruler(fp32=[200.0])

    def asked(ruler):
        return peaks(place, "fp32", ruler, now_s=lambda: now[0])

    assert asked(busy).crowded == asked(quiet).crowded == "others used 1 core"
    assert quiet.asked == []
    now[0] += AGAIN_S
    found = asked(quiet)
    assert (found.crowded, found.gflops_s) == ("", {"kernel": 200.0})
    now[0] += AGAIN_S
    asked(busy)
    assert len(busy.asked) == 1


def test_the_report_says_that_the_roof_may_be_too_low(graph):
    assert "the roof may be too low: while it was measured, others used 1 core" in held(graph, 40.0, Ruler(fp32=[100.0], crowded="others used 1 core")).next


def test_what_the_roof_depends_on(tmp_path, monkeypatch):
    """Threads (which ONNX Runtime chooses by a graph's size), options, precision of the kernels, and the machine."""
    own = Target(**{**CPU.model_dump(), "options": {"ort": {"threads": 1}}})
    keys = [
        identity(Place("ort", "fp32", CPU, 100), "fp32"),
        identity(Place("ort", "fp32", CPU, 100 * MB), "fp32"),
        identity(Place("ort", "fp32", own, 100 * MB), "fp32"),
        identity(Place("ort", "fp32", CPU, 100), "int8"),
        identity(Place("ref", "fp32", CPU, 100), "fp32") | {"backend": "ort"},
    ]
    assert identity(Place("ort", "fp32", CPU, 200), "fp32") == keys[0]
    real = machine()
    for changed in ({"affinity": (7,)}, {"cpu": "another"}, {"power_mode": "15W"}, {"quota": 0.5}):
        monkeypatch.setattr("mmedge.profile.peaks.machine", lambda changed=changed: real.model_copy(update=changed))
        keys.append(identity(Place("ort", "fp32", CPU, 100), "fp32"))
    assert len({json.dumps(key, sort_keys=True) for key in keys}) == len(keys)


def test_integers_go_by_their_own_roof(graph):
    """Half of 1 GFLOP at 100 GFLOP/s and half at 400: 5 + 1.25 ms."""
    found = held(graph, 25.0, Ruler(fp32=[100.0], int8=[400.0]), where=placed("int8"), integer_flops=5 * 10**8)
    assert (found.least_ms, found.percent, found.gflops_s) == (6.25, 25.0, 160.0)


def test_an_int8_graph_is_counted_from_the_file_that_runs(graph, tmp_path):
    seen = []

    def count(graph, feeds):
        seen.append(graph.path)
        return Work(10**9, 10**6, {})

    built = tmp_path / "graph-int8.12345678.onnx"
    built.write_bytes(b"0")
    file = File(path="ears/graph-int8.12345678.onnx", sha256=hashlib.sha256(b"0").hexdigest(), size_bytes=1)
    roof(graph, {}, took(40.0), placed("int8", file=file), CPU, count=count, measure=Ruler(fp32=[100.0]))
    assert seen == [built]


def test_half_precision_reads_half_of_the_weights(graph):
    pytest.importorskip("openvino")
    target = Target(name="hand", summary="", backends=("openvino",), precisions={"openvino": ("fp32", "bf16")}, max_opset=21, max_ir=10)
    if "bf16" not in load_backend("openvino").probe().features:
        pytest.skip("this CPU has no bf16")
    found = held(graph, 40.0, Ruler(bf16=[100.0]), where=placed("bf16", "openvino"), target=target, size=10**6, float_weights=8 * 10**5)
    assert found.bytes == 6 * 10**5


def test_what_the_next_precision_would_buy(graph):
    assert "int8 for all of it would be 4.00 times as fast at most" in held(graph, 40.0, Ruler(fp32=[100.0], int8=[400.0])).next
    for_memory = held(graph, 40.0, Ruler(fp32=[100.0], int8=[400.0]), flops=1, size=10**8, float_weights=10**8)
    assert "int8 for all of it would be 4.00 times as fast at most" in for_memory.next


def test_where_it_would_buy_nothing(graph):
    assert "int8 for all of it would buy nothing" in held(graph, 40.0, Ruler(fp32=[100.0], int8=[90.0])).next


def test_where_it_is_not_known(graph):
    assert held(graph, 40.0, Ruler(fp32=[100.0])).next == "what int8 would buy is not known: its roof cannot be measured here"
    only = Target(**{**CPU.model_dump(), "precisions": {"ort": ("fp32",)}})
    assert held(graph, 40.0, Ruler(fp32=[100.0]), target=only).next == "what a precision below fp32 would buy is not known: hand has none for ort here"


def test_what_was_not_counted_is_said(graph):
    assert "not counted: DFT, Det" in held(graph, 40.0, Ruler(fp32=[100.0]), unknown=("DFT", "Det")).next


def test_work_that_cannot_be_counted_has_no_roof(graph):
    def count(graph, feeds):
        raise MmedgeError("onnxruntime cannot run it", "")

    assert roof(graph, {}, took(1.0), placed(), CPU, count=count, measure=Ruler(fp32=[1.0])) is None


def test_bandwidth_of_a_working_set():
    streams = {"near": {MB: 40.0, 4 * MB: 20.0}, "far": {MB: 5.0, 4 * MB: 30.0, 64 * MB: 10.0}}
    assert bandwidth(streams, 1) == bandwidth(streams, MB) == 40.0
    assert bandwidth(streams, 2 * MB) == pytest.approx(30.0)
    assert bandwidth(streams, 4 * MB) == 30.0
    assert bandwidth(streams, 16 * MB) == pytest.approx(20.0)  # half way from 4 to 64 by the logarithm
    assert bandwidth(streams, 64 * MB) == bandwidth(streams, 1000 * MB) == 10.0


@pytest.mark.full
def test_a_real_roof(tmp_path):
    """A large matrix product is bound by arithmetic, and most of what the machine can do; a large table's sum by memory. Never more than all of it."""
    feeds = {"x": np.ones((512, 512), np.float32)}
    node = h.make_node("MatMul", ["x", "w"], ["y"])
    weight = numpy_helper.from_array(np.ones((512, 2560), np.float32), "w")
    value = h.make_tensor_value_info
    onnx.save(
        h.make_model(
            h.make_graph([node], "g", [value("x", T.FLOAT, [512, 512])], [value("y", T.FLOAT, [512, 2560])], [weight]),
            ir_version=10,
            opset_imports=[h.make_opsetid("", 21)],
        ),
        tmp_path / "g.onnx",
    )
    graph = Graph(tmp_path / "g.onnx", "", (TensorSpec("x", "float32", (512, 512)),), (TensorSpec("y", "float32", (512, 2560)),))
    with load_backend("ort").open(Engine(Candidate(graph, "fp32")), CPU) as runner:
        kernel = Kernel("own", [], feeds, ("y", "float32", (512, 2560)))
        p50_ms = fastest_s(runner, kernel, 0.5) * 1e3
    found = roof(graph, feeds, took(p50_ms), placed(), CPU)
    assert found.flops == 2 * 512 * 512 * 2560 and found.bound == "compute"
    assert found.percent is None or 20 < found.percent <= 100
