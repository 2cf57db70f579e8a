"""Ten healthy exports of different families, for two targets: no gate refuses one of them, and every gate was held."""

from __future__ import annotations

import pytest
from faults.conftest import TARGETS

from mmedge.bundle import Bundle

pytestmark = pytest.mark.full

ARCHITECTURES = [
    "CLIPModel",
    "WhisperForConditionalGeneration",
    "BlipForConditionalGeneration",
    "SmolVLMForConditionalGeneration",
    "BlipForQuestionAnswering",
    "LlamaForCausalLM",
    "ASTForAudioClassification",
    "ViTForImageClassification",
]


def held(path, targets):
    """That every check of a bundle passed, and was run."""
    gates = Bundle.open(path).manifest.gates
    for target in targets:
        found = gates[f"check {target}"]
        assert found and [gate for gate in found if gate.word() != "ok"] == []


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_small_checkpoint(healthy, mmedge, architecture):
    held(healthy(architecture), TARGETS)
    assert mmedge("inspect", healthy(architecture))[0] == 0


def test_the_toy(toy_bundle, mmedge):
    held(toy_bundle, ["cpu"])
    assert mmedge("check", toy_bundle, "-t", "cpu")[0] == 0


def test_the_shipped_assistant(assistant_bundle, mmedge):
    """Four more models with their real weights: voice activity, speech, pictures, voice."""
    held(assistant_bundle, TARGETS)
    assert mmedge("inspect", assistant_bundle)[0] == 0
