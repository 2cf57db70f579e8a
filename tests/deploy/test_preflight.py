"""What can be known of an engine where its device is not: through NVIDIA's own parser and builder, TensorRT-RTX, without a GPU."""

from __future__ import annotations

import platform
import re

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_graph import graph

from mmedge.backends.tensorrt import store
from mmedge.deploy import elsewhere, preflight
from mmedge.deploy.compile import compile, place, same
from mmedge.deploy.elsewhere import Offer, foresee
from mmedge.deploy.inspect import describe, inspect, summary
from mmedge.errors import MmedgeError
from mmedge.manifest import Placement
from mmedge.need import NotInstalled
from mmedge.runner import Candidate
from mmedge.target import Target

if platform.machine() != "x86_64":
    pytest.skip("TensorRT for RTX has wheels for x86-64 only", allow_module_level=True)

JETSON, RTX = Target.load("jetson"), Target.load("rtx")
LISTS = "on NVIDIA's lists for TensorRT 10.3, 10.8, 10.13.3.9, 11.4.1"
WHERE = r"TensorRT-RTX 1\.[\d.]+ for compute capability 8\.6, without a GPU"


def quiet(line):
    pass


def half(path, *, ranges=None):
    """y = float(half(x) * w), in fp16 between its inputs and outputs."""
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "w"], ["i"], name="product"),
        helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
    ]
    weight = numpy_helper.from_array(np.ones((64, 64), np.float16), "w")
    ends = {"inputs": {"x": ("float32", ("n", 64))}, "outputs": {"y": ("float32", ("n", 64))}}
    return graph(path, *nodes, **ends, constants=[weight], ranges=ranges)


def refused(path):
    """A graph that NVIDIA's lists have and TensorRT-RTX does not take."""
    return graph(path, helper.make_node("Sqrt", ["x"], ["r"]), helper.make_node("NonZero", ["r"], ["y"], name="where"), outputs={"y": ("int64", (1, "m"))})


def offered(given, bundle=None, wanted=("tensorrt", "ort"), missing=""):
    return Offer("eyes", "g", given, wanted, None, missing)


def test_a_graph_is_built_and_the_evidence_says_on_what(tmp_path):
    found = preflight.preflight("eyes/g", Candidate(half(tmp_path / "g.onnx"), "fp16"), JETSON, None)
    (evidence,) = found.evidence
    assert (found.refused, evidence.kind) == ("", "built")
    assert re.fullmatch(WHERE, evidence.on)
    assert "Jetson" not in evidence.on
    assert re.search(r"MB in [\d.]+ s, [\d.]+ times its weights; layers: .*\d in fp16", evidence.note)
    assert found.note.startswith(f"{LISTS}; TensorRT-RTX 1.")
    assert (found.key["flavour"], found.key["compute_capability"]) == ("rtx", "8.6")
    assert memoryview(found.engine).nbytes > 64 * 64 * 2


def test_a_target_whose_boards_build_by_trtexec_has_its_evidence_all_the_same(tmp_path):
    own = JETSON.model_copy(update={"options": {**JETSON.options, "tensorrt": {"trtexec": True}}})
    found = preflight.preflight("eyes/g", Candidate(half(tmp_path / "g.onnx"), "fp16"), own, None)
    assert [one.kind for one in found.evidence] == ["built"]


def test_fp16_that_is_not_there_is_refused(tmp_path):
    plain = graph(tmp_path / "g.onnx", helper.make_node("Sqrt", ["x"], ["y"]))
    found = preflight.preflight("eyes/g", Candidate(plain, "fp16"), JETSON, None)
    assert "none of its layers computes in fp16" in found.refused
    assert (found.evidence, found.engine) == ((), None)


def test_what_the_parser_refuses_goes_to_ort_in_its_own_words(tmp_path):
    placed = foresee(None, offered(refused(tmp_path / "g.onnx")), RTX, None)
    assert (placed.backend, placed.precision, placed.state, placed.evidence) == ("ort", "fp32", "on-device", ())
    assert placed.reason.startswith("tensorrt does not take it: TensorRT-RTX 1.")
    assert "where (NonZero): " in placed.reason
    assert "NonZero plugin creator version 1 was not found" in placed.reason
    assert [trial.backend for trial in placed.trials] == ["tensorrt"]


def test_where_nothing_else_is_allowed_that_is_an_error(tmp_path):
    with pytest.raises(MmedgeError, match=r"eyes/g can be placed on no backend of rtx: TensorRT-RTX .*where \(NonZero\)") as told:
        foresee(None, offered(refused(tmp_path / "g.onnx"), wanted=("tensorrt",)), RTX, None)
    assert "mmedge targets" in told.value.fix


def test_what_the_lists_lack_is_not_even_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "build", lambda *given, **named: pytest.fail("it was parsed"))
    modern = graph(tmp_path / "g.onnx", helper.make_node("Swish", ["x"], ["y"], name="act"))
    found = preflight.preflight("eyes/g", Candidate(modern, "fp32"), JETSON, None)
    assert found.refused == "NVIDIA's lists for TensorRT 10.3 lack it: act (Swish): TensorRT takes the operator from 11.0 on"
    assert preflight.versions(RTX) == ()


@pytest.mark.parametrize(
    ("target", "oldest"),
    [
        ("jetson-orin-nano", ("10.3", "10.8", "10.16.2.10")),
        ("jetson-agx-orin", ("10.3", "10.8", "10.16.2.10", "11.4.1")),
        ("jetson-thor", ("10.13.3.9", "11.4.1")),
        ("nvidia", ("10.0", "10.8", "10.12", "11.0", "11.4.1", "11.5")),
    ],
)
def test_the_lists_that_count_are_those_of_the_oldest_tensorrt_that_a_board_may_have(target, oldest):
    assert preflight.versions(Target.load(target)) == oldest


def test_a_preferred_backend_is_taken_and_the_parser_is_asked_all_the_same(tmp_path):
    taken = graph(tmp_path / "taken.onnx", helper.make_node("Sqrt", ["x"], ["y"]))
    reasons = [foresee(None, offered(one, wanted=("ort",)), JETSON, None).reason for one in (refused(tmp_path / "g.onnx"), taken)]
    assert reasons[0].startswith(f"the model's family prefers it; {LISTS}; TensorRT-RTX 1.")
    assert "would not take it: where (NonZero): " in reasons[0]
    assert reasons[1].endswith("would take it")


def test_the_parser_is_asked_again_only_where_something_changed(tmp_path, monkeypatch):
    offer = offered(refused(tmp_path / "g.onnx"), wanted=("ort",))
    first = foresee(None, offer, JETSON, None)
    monkeypatch.setattr(elsewhere, "asked", lambda *given: "asked again")
    assert foresee(None, offer, JETSON, first) == first
    monkeypatch.setattr(elsewhere, "parser", lambda: "TensorRT-RTX 99")
    assert foresee(None, offer, JETSON, first).reason.endswith("asked again")


def missing(name):
    raise NotInstalled("TensorRT-RTX is not installed", 'pip install "mmedge[rtx]"')


def broken(name):
    raise MmedgeError("tensorrt_rtx_bindings is installed but fails to import: libnvinfer", 'pip install "mmedge[rtx]"')


@pytest.mark.parametrize("absent", [missing, broken])
def test_without_tensorrt_rtx_there_is_no_evidence_and_that_is_said(toy_bundle, monkeypatch, absent):
    monkeypatch.setattr(preflight.flavours, "title", absent)
    made = compile(toy_bundle, JETSON, quiet)
    (placed,) = made.manifest.engines["jetson"].values()
    assert (placed.backend, placed.precision, placed.evidence, placed.key) == ("tensorrt", "fp16", (), {})
    assert placed.reason.startswith(
        f"{LISTS}; not parsed here: TensorRT-RTX is not installed" if absent is missing else f"{LISTS}; not parsed here: tensorrt_rtx"
    )
    assert 'pip install "mmedge[rtx]"' in placed.reason
    for text in (summary(made.manifest, made.path), describe(made.manifest)):
        assert "engines: 1 neither parsed nor built; never run on a Jetson" in text
        assert "another product" not in text


def test_a_jetson_gets_a_plan_and_no_engine(toy_bundle):
    made = compile(toy_bundle, JETSON, quiet)
    (placed,) = made.manifest.engines["jetson"].values()
    (variant,) = made.manifest.models["eyes"].graphs["image_encoder"].variants
    assert (placed.state, placed.backend, placed.precision, placed.file) == ("on-device", "tensorrt", "fp16", None)
    assert placed.made_of == variant.file.sha256
    text = summary(made.manifest, made.path)
    assert "eyes/image_encoder: tensorrt fp16 (evidence: built)" in text
    assert "engines: 1 built with TensorRT-RTX" in text
    assert "never run on a Jetson, whose TensorRT is another product" in text
    assert f"next: mmedge push {made.path} USER@BOARD" in text
    told = describe(made.manifest)
    assert f"as fp16: {variant.file.path}" in told
    assert "built: TensorRT-RTX" in told
    assert "never run on a Jetson" in told


def test_an_engine_for_rtx_stays_in_the_bundle(toy_bundle):
    made = compile(toy_bundle, RTX, quiet)
    (placed,) = made.manifest.engines["rtx"].values()
    assert (placed.state, placed.backend, placed.precision) == ("built", "tensorrt", "fp16")
    assert made.file(placed.file).stat().st_size == placed.file.size_bytes > 0
    assert inspect(made.path)[1] == []
    assert "never run on a GPU" in summary(made.manifest, made.path)
    assert "mmedge compile toy.bundle --target rtx" in summary(made.manifest, made.path)


@pytest.mark.parametrize("target", [JETSON, RTX], ids=lambda one: one.name)
def test_what_was_built_is_not_built_again_while_nothing_changed(toy_bundle, monkeypatch, target):
    first = compile(toy_bundle, target, quiet).manifest
    monkeypatch.setattr(preflight, "build", lambda *given, **named: pytest.fail("it was built again"))
    assert compile(toy_bundle, target, quiet).manifest == first
    other = target.model_copy(update={"memory_mb": 2000})  # the builder is asked for less workspace: another engine
    with pytest.raises(pytest.fail.Exception, match="built again"):
        compile(toy_bundle, other, quiet)


def test_a_damaged_engine_of_the_bundle_is_never_taken(toy_bundle):
    made = compile(toy_bundle, RTX, quiet)
    (placed,) = made.manifest.engines["rtx"].values()
    (made.path / placed.file.path).write_bytes(b"other")
    with pytest.raises(MmedgeError, match="is damaged"):
        compile(toy_bundle, RTX, quiet)


KEY = {"flavour": "rtx", "tensorrt": "1.7.1", "compute_capability": "8.6", "cuda": "none", "sha256": "a", "shapes": "x=1:2:3", "options": "fp16"}


@pytest.mark.parametrize(
    ("made", "wanted", "equal"),
    [
        (KEY, KEY, True),
        (KEY, {**KEY, "cuda": "12.9"}, True),
        ({**KEY, "cuda": "12.8"}, {**KEY, "cuda": "12.9"}, False),
        ({**KEY, "flavour": "tensorrt"}, {**KEY, "flavour": "tensorrt", "cuda": "12.9"}, False),
        *[(KEY, {**KEY, name: "other"}, False) for name in KEY if name != "cuda"],
    ],
)
def test_an_engine_is_lent_only_to_what_it_was_made_for(made, wanted, equal):
    assert same(made, wanted) == equal


def test_on_a_machine_with_the_gpu_the_bundles_engine_is_found_in_the_store(toy_bundle, monkeypatch, tmp_path):
    """The GPU is a stand-in: its key is the bundle's with a CUDA version, and nothing is opened."""
    from mmedge.deploy.compile import _lend

    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))
    made = compile(toy_bundle, RTX, quiet)
    (before,) = made.manifest.engines["rtx"].values()
    candidate = Candidate(made.graph("eyes", "image_encoder").variants["fp16"], "fp16")
    here = {**before.key, "cuda": "12.9"}
    monkeypatch.setattr(store, "key", lambda candidate, target: here)
    assert store.find(here) is None
    _lend(made, candidate, RTX, before)
    assert store.find(here).read_bytes() == made.file(before.file).read_bytes()
    other = {**here, "compute_capability": "8.9"}
    monkeypatch.setattr(store, "key", lambda candidate, target: other)
    _lend(made, candidate, RTX, before)
    assert store.find(other) is None


def test_fp16_outside_its_bound_leaves_fp32_and_says_so(toy_bundle, monkeypatch):
    from mmedge.deploy import compile as module
    from mmedge.manifest import Gate

    gate = Gate(name="fp16 eyes/image_encoder", passed=False, value=3.2, bound=1.0, note="outside the bound even where only what holds weights is in fp16")
    monkeypatch.setattr("mmedge.deploy.compile.add_variant", lambda *given: gate)
    made = compile(toy_bundle, JETSON, quiet)
    (placed,) = made.manifest.engines["jetson"].values()
    assert (placed.backend, placed.precision, placed.made_of) == ("tensorrt", "fp32", None)
    assert placed.reason.startswith("not in fp16: outside the bound")
    assert made.manifest.gates["variants"] == (gate,)
    assert module.VARIANTS in describe(made.manifest)


def test_a_device_without_onnx_takes_what_the_bundle_has(toy_bundle, monkeypatch):
    monkeypatch.setattr("mmedge.deploy.compile.have", lambda module: module != "onnx")
    monkeypatch.setattr("mmedge.deploy.compile.add_variant", lambda *given: pytest.fail("it needs onnx"))
    (placed,) = compile(toy_bundle, JETSON, quiet).manifest.engines["jetson"].values()
    assert placed.precision == "fp32"
    assert placed.reason.startswith("not in fp16: the bundle does not hold it so")


def test_nothing_is_committed_before_all_is_placed(toy_bundle):
    from mmedge.bundle import Bundle

    before = (toy_bundle / "manifest.json").read_bytes()
    with Bundle.writing(toy_bundle) as bundle:
        manifest = place(bundle, RTX, quiet)
    assert isinstance(manifest.engines["rtx"]["eyes/image_encoder"], Placement)
    assert (toy_bundle / "manifest.json").read_bytes() == before


def test_a_target_without_tensorrt_asks_no_parser(monkeypatch):
    monkeypatch.setattr(elsewhere, "asked", lambda *given: pytest.fail("the parser was asked"))
    target = RTX.model_copy(update={"backends": ("openvino", "ort")})
    assert foresee(None, offered(None, wanted=("ort",)), target, None).reason == elsewhere.PREFERRED
