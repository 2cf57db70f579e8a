"""What each family's models can be evaluated by."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mmedge.errors import MmedgeError
from mmedge.evaluate.choosing import columns_of

DUAL = {"text": None, "text_inputs": ["input_ids"], "scale": 1.0, "bias": 0.0, "yes": 0.5, "no": 0.1}
WHISPER = {"kind": "whisper", "mels": 80, "windows_s": [10], "tokenizer": True, "prompt": [1], "stop": 2, "no_speech": None, "suppress": []}
WHISPER |= {"suppress_first": [], "max_tokens": 9}
AUDIO = {"kind": "waveform", "waveform": {}, "least": 400, "labels": ["a", "b"], "activation": "softmax"}
TEXT = {"length": 8, "pad_id": 0, "pad_token": "p"}
ONNX = {"graphs": ["g"], "tokenizer": True}


@pytest.mark.parametrize(
    ("family", "config", "tasks"),
    [
        ("toy", {"size": 8}, {"classification": (("image",), ("label",))}),
        ("speech", WHISPER, {"transcription": (("audio",), ("transcript", "text"))}),
        ("speech", {**WHISPER, "tokenizer": False}, {}),
        (
            "audio",
            {"kind": "waveform", "waveform": {}, "least": 400, "labels": ["a", "b"], "activation": "softmax"},
            {"classification": (("audio",), ("label",))},
        ),
        ("dual_encoder", {**DUAL, "kind": "clip", "image": {}}, {}),
        ("fusion", {"text": TEXT, "audio": {}, "attends": True, "labels": ["a", "b"]}, {"classification": (("text", "audio"), ("label",))}),
        ("fusion", {"image": {}, "text": TEXT, "attends": False}, {"matching": (("image",), ("text",))}),
        ("onnx", {**ONNX, "kind": "speech"}, {"transcription": (("audio",), ("transcript", "text"))}),
        ("onnx", {**ONNX, "kind": "classifier", "takes": "audio", "waveform": {}}, {"classification": (("audio",), ("label",))}),
        ("onnx", {**ONNX, "kind": "classifier", "takes": "audio"}, {}),
        ("onnx", {**ONNX, "kind": "plain"}, {}),
        ("auto", {"architecture": "x", "examples": "rule", "graphs": ["g"]}, {}),
    ],
)
def test_tasks_by_verbs(family, config, tasks):
    assert columns_of(SimpleNamespace(family=family, config=config)) == tasks


def test_pictures_and_sounds_are_told_apart():
    from mmedge.families.dual_encoder import Config, verbs

    hears, sees = (verbs(Config(kind=kind, **DUAL)) for kind in ("clap", "clip"))
    assert "embed_audio" in hears and "embed_image" not in hears and "embed_image" in sees and "embed_audio" not in sees


def test_a_config_of_another_version_is_two_lines():
    with pytest.raises(MmedgeError) as caught:
        columns_of(SimpleNamespace(family="toy", config={"size": 8, "colour": 1}))
    assert "unknown key colour" in caught.value.what
