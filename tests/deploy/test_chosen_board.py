"""Candidates for a board: measured and chosen there, and nowhere else. Times are given."""

from __future__ import annotations

import sys

import pytest
from backends.tensorrt import stand_in, stand_in_engine
from deploy.rechoosing import VARIANTS, given, placed, quantized_of, quiet
from quantized_toy import KEY, ROLE, manifest_of, masked, quantized_toy, rated
from tampering import edit

import mmedge.backends.tensorrt as tensorrt
from mmedge.backends.tensorrt import build
from mmedge.deploy.check import check
from mmedge.deploy.compile import compile
from mmedge.errors import MmedgeError
from mmedge.manifest import Variant
from mmedge.rated import Choice
from mmedge.runner import Engine
from mmedge.target import Target

__all__ = ["given"]

JETSON = Target.load("jetson")


@pytest.fixture
def for_jetson(toy_bundle, monkeypatch, tmp_path):
    """Quantized on a PC for a board: fp16 is not there, int8 passed its gate, and nothing was measured."""
    masked(monkeypatch)
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))
    quantized_toy(toy_bundle)
    manifest = manifest_of(toy_bundle)
    first = manifest.models[ROLE].graphs[KEY].variants[0].model_copy(update={"backend": "tensorrt"})
    choice = Choice(
        chosen="tensorrt fp32",
        why="nothing is timed here",
        rated=(
            rated("tensorrt fp32", ratio=None),
            rated("tensorrt quick", precision="int8", ratio=None, lost=0.004, made_of=first.file.sha256),
            rated("ort fp32", ratio=None),
        ),
    )
    found = quantized_of(toy_bundle).model_copy(update={"graphs": {KEY: choice}, "golden": None, "cases": ()})
    edit(toy_bundle, ("quantized",), {"jetson": {ROLE: found.model_dump(mode="json")}})
    edit(toy_bundle, VARIANTS, [Variant.model_validate(first).model_dump(mode="json")])
    edit(toy_bundle, ("engines",), {})
    return toy_bundle


def board():
    """The board as this machine: only here its engines are built and opened."""
    return JETSON.model_copy(update={"build_on": "anywhere", "boards": (), "memory_mb": None, "precisions": {"tensorrt": ("fp32",), "ort": ("fp32",)}})


def test_a_board_measures_and_builds_what_it_takes(for_jetson, monkeypatch, given):
    """The board is a stand-in for TensorRT; what it builds is what ONNX Runtime computes."""
    stand_in.install(monkeypatch)
    built = []

    def compiled(candidate, target, out):
        built.append(candidate.graph.path.name.partition(".")[0])
        layers = [{"Name": "a", "LayerType": "gemm", "Weights": {"Type": "Int8" if candidate.precision == "int8" else "Float", "Count": 9}}]
        profile = build.profile_shapes(candidate.graph)
        return Engine(candidate, stand_in_engine.plan(out / f"{built[-1]}-{candidate.precision}.plan", candidate.graph, profile=profile, layers=layers))

    monkeypatch.setattr(tensorrt, "compile", compiled)
    compile(for_jetson, board(), quiet)
    assert (placed(for_jetson, "jetson").precision, {one.precision for one in placed(for_jetson, "jetson").trials}) == ("fp32", {"fp32"})
    asked = given(quick=0.4)
    compile(for_jetson, board(), quiet, anew=True)
    assert asked == ["tensorrt fp32", "tensorrt quick", "ort fp32"]
    found = placed(for_jetson, "jetson")
    assert (found.backend, found.precision, found.made_of) == ("tensorrt", "int8", quantized_of(for_jetson, "jetson").graphs[KEY].of("tensorrt quick").made_of)
    assert found.file is not None and found.key["sha256"] == found.made_of and found.evidence[0].kind == "run"
    check(for_jetson, board(), quiet)
    compile(for_jetson, board(), quiet)  # keeps it
    assert placed(for_jetson, "jetson").made_of == found.made_of


def test_away_from_the_board_nothing_is_chosen(for_jetson, refused):
    what, fix = refused("compile", for_jetson, "--target", "jetson", "--rechoose")
    assert what == "candidates for jetson are measured on the board, and this machine is none"
    assert fix == f"on the board: mmedge compile {for_jetson} --target jetson --rechoose"


def test_a_board_that_can_only_build_engines(for_jetson, monkeypatch):
    for name in ("tensorrt", "tensorrt_rtx_libs", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    target = board().model_copy(update={"options": {"tensorrt": {"trtexec": True}}})
    with pytest.raises(MmedgeError, match="candidates cannot be measured: TensorRT's Python module") as error:
        compile(for_jetson, target, quiet, anew=True)
    assert "python3-libnvinfer" in error.value.fix
