"""A Piper voice is ONNX already: read its JSON file, and record what Piper and onnxruntime make of a sentence."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.errors import MmedgeError
from mmedge.families.voice import Config, Options
from mmedge.families.voice.session import BEGIN, END, PAD, Samples, feeds_for, ids_of
from mmedge.family import Allow, Case, Exported, Media, OnnxGraph
from mmedge.need import have, need
from mmedge.tensors import Array

SENTENCE = "Yes, I see a cat."
PHONEMES = "jˈɛs, aɪ sˈiː ɐ kˈæt."
"""The same in espeak's phonemes: an export needs no piper-tts, it only records less without it."""


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """``voice``: input int64 [batch, phonemes], input_lengths int64 [batch], scales float32 [3] -> output float32 [batch, 1, 1, samples].

    The scales are those of the noise, the length and the rhythm's noise.

    Raises:
        MmedgeError: no voice in the folder, more than one, a damaged one, or one whose phonemes are not espeak's.
    """
    found = sorted(folder.glob("*.onnx.json"))
    if len(found) != 1:
        raise MmedgeError(f"{folder} holds {len(found)} Piper voices", "give it exactly one: NAME.onnx and NAME.onnx.json")
    model = found[0].with_suffix("")
    if not model.is_file():
        raise MmedgeError(f"{folder} holds {found[0].name} without {model.name}", "a Piper voice is both files")
    config = _config(found[0])
    if missing := {BEGIN, PAD, END} - set(config.phoneme_ids):
        raise MmedgeError(f"{found[0]} gives no number to {min(missing)!r}", "get an undamaged copy of both files")
    ids = ids_of(PHONEMES, config.phoneme_ids)
    feeds = feeds_for(ids, config, varied=False)
    cases = [Case("verb", "synthesize", {"ids": ids, "varied": False}, _sound(model, feeds), source="onnxruntime without optimisation", atol=1e-3)]
    if have("piper"):
        source = f"piper-tts {metadata.version('piper-tts')} PiperVoice"
        cases.append(Case("processor", "phoneme_ids", {"text": SENTENCE}, _piper_ids(found[0]), source=source))
    return Exported(graphs={"voice": OnnxGraph(model, feeds)}, assets={}, config=config, cases=cases)


def _config(path: Path) -> Config:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = content.get("phoneme_type", "espeak")
        if kind != "espeak":
            raise MmedgeError(f"{path} is a voice with phonemes of the kind {kind}", "choose a voice with espeak phonemes")
        inference = content.get("inference", {})
        return Config(
            rate_hz=content["audio"]["sample_rate"],
            espeak_voice=content["espeak"]["voice"],
            phoneme_ids=content["phoneme_id_map"],
            vowel_clusters=content.get("vowel_clusters") or (),
            noise_scale=inference.get("noise_scale", 0.667),
            noise_width=inference.get("noise_w", 0.8),
            length_scale=inference.get("length_scale", 1.0),
            speaker=content.get("default_speaker_id", 0) if content.get("num_speakers", 1) > 1 else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MmedgeError(f"{path} is not the description of a Piper voice: {error!r}", "get an undamaged copy of both files") from error


def _piper_ids(path: Path) -> list[list[int]]:
    """What Piper itself makes of the sentence."""
    piper = need("piper", extra="assistant")
    voice = piper.PiperVoice(session=None, config=piper.PiperConfig.from_dict(json.loads(path.read_text(encoding="utf-8"))))
    return [voice.phonemes_to_ids(phonemes) for phonemes in voice.phonemize(SENTENCE)]


def _sound(model: Path, feeds: dict[str, Array]) -> Samples:
    """The reference evaluator cannot run Piper's graph (GatherElements with other sizes than onnx defines), so this is onnxruntime, nothing rewritten."""
    ort = need("onnxruntime", extra="build")
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class per status, all direct children of Exception
        raise MmedgeError(f"{model} is not an ONNX model: {error}", "get an undamaged copy") from error
    return np.asarray(session.run(None, feeds)[0], np.float32).reshape(-1)
