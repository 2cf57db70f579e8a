"""TensorRT for RTX is another product than a board's TensorRT: what its refusals decide, and which GPU its evidence is for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from backends.tensorrt import stand_in
from deploy.test_preflight import JETSON, LISTS, RTX, broken, half, offered, quiet, refused

from mmedge.deploy import preflight
from mmedge.deploy.compile import compile
from mmedge.deploy.elsewhere import foresee
from mmedge.deploy.inspect import summary
from mmedge.runner import Candidate


@pytest.mark.parametrize("wanted", [("tensorrt", "ort"), ("tensorrt",)])
def test_what_only_another_product_refuses_is_left_to_the_boards_own_tensorrt(tmp_path, wanted):
    """The lists of a Jetson's TensorRT have NonZero; that TensorRT for RTX lacks it is told, and decides nothing."""
    placed = foresee(None, offered(refused(tmp_path / "g.onnx"), wanted=wanted), JETSON, None)
    assert (placed.backend, placed.precision, placed.state, placed.evidence, placed.key) == ("tensorrt", "fp32", "on-device", (), {})
    assert placed.reason.startswith(f"{LISTS}; they decide here, and the device's own TensorRT there; TensorRT-RTX 1.")
    assert "NonZero plugin creator version 1 was not found" in placed.reason
    (trial,) = placed.trials
    assert (trial.backend, trial.precision, trial.passed) == ("tensorrt", "fp32", False)
    assert placed.reason.endswith(trial.note)


def test_a_precision_that_is_taken_comes_before_one_that_is_doubted(tmp_path):
    taken = half(tmp_path / "taken.onnx")
    doubted = replace(refused(tmp_path / "g.onnx"), variants={"fp16": taken})
    placed = foresee(None, offered(doubted), JETSON.model_copy(update={"precisions": {"tensorrt": ("fp32", "fp16")}}), None)
    assert (placed.backend, placed.precision, [one.kind for one in placed.evidence]) == ("tensorrt", "fp16", ["built"])
    assert [(one.precision, one.passed) for one in placed.trials] == [("fp32", False)]


def test_what_the_boards_own_tensorrt_refuses_then_goes_to_ort(toy_bundle, monkeypatch):
    """The board is a stand-in for TensorRT that builds nothing, and says so."""
    stand_in.install(monkeypatch)
    monkeypatch.setattr("mmedge.backends.tensorrt.compile", lambda *given: broken("none"))
    target = JETSON.model_copy(update={"build_on": "anywhere", "boards": ()})
    (placed,) = compile(toy_bundle, target, quiet).manifest.engines["jetson"].values()
    assert (placed.backend, placed.state) == ("ort", "ready")
    assert "tensorrt fp16: tensorrt_rtx_bindings is installed but fails" in placed.reason


def test_what_was_refused_is_not_told_as_never_looked_at(toy_bundle, monkeypatch):
    monkeypatch.setattr(preflight, "build", lambda *given, **named: broken("none"))
    made = compile(toy_bundle, JETSON, quiet)
    assert "engines: 1 refused by TensorRT-RTX; never run on a Jetson" in summary(made.manifest, made.path)


@pytest.mark.parametrize(
    ("target", "own", "capability", "said"),
    [
        (JETSON, ("8.7", "11.0"), "8.6", "; it builds nothing for the target's own 8.7 and 11.0"),
        (RTX, ("8.9", "12.0"), "8.9", ""),
        (RTX, ("7.5", "8.6"), "8.6", ""),
        (RTX, (), "8.6", ""),
    ],
)
def test_evidence_is_for_a_gpu_of_the_target_where_there_can_be_any(tmp_path, target, own, capability, said):
    target = target.model_copy(update={"compute_capability": own})
    found = preflight.preflight("eyes/g", Candidate(half(tmp_path / "g.onnx"), "fp16"), target, None)
    (evidence,) = found.evidence
    assert evidence.on.endswith(f" for compute capability {capability}, without a GPU")
    assert found.key["compute_capability"] == capability
    assert evidence.note.partition(" in fp16")[2] == said
