"""A checkpoint of a sound classifier -> its one graph."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from torch import Tensor

from mmedge.errors import MmedgeError, first_line
from mmedge.families.audio import ARCHITECTURES, Config, Options
from mmedge.family import Allow, Case, Exported, Media, TorchGraph
from mmedge.nets.checkpoint import architecture_in, load
from mmedge.nets.preprocessor import feature_extractor
from mmedge.nets.wav2vec2 import Encoder, least_samples
from mmedge.processors.audio import Samples, sound_at
from mmedge.processors.fbank import FRAME, Fbank, FbankSettings
from mmedge.processors.waveform import WaveformSettings, waveform

SOUNDS = ("question", "remark")
TOP = 5
ACTIVATIONS: dict[str, Literal["softmax", "sigmoid", "none"]] = {"multi_label_classification": "sigmoid", "regression": "none"}
"""By the config's ``problem_type``; softmax for all others, as in transformers' own pipeline."""


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """``classifier``; see the package for its tensors.

    Raises:
        MmedgeError: the folder is no such checkpoint, or it is damaged.
    """
    architecture = architecture_in(folder, ARCHITECTURES, "is no classifier of sounds")
    model = load(architecture, folder, allow)
    told = feature_extractor(folder)
    settings = _settings(folder, model.config, told)
    config = Config(
        kind="fbank" if isinstance(settings, FbankSettings) else "waveform",
        fbank=settings if told and isinstance(settings, FbankSettings) else None,
        waveform=settings if told and isinstance(settings, WaveformSettings) else None,
        least=FRAME if isinstance(settings, FbankSettings) else least_samples(list(model.config.conv_kernel), list(model.config.conv_stride)),
        labels=tuple(str(model.config.id2label.get(index, f"LABEL_{index}")) for index in range(model.config.num_labels)),
        activation=ACTIVATIONS.get(str(model.config.problem_type), "softmax"),
    )
    sounds = {name: sound_at(media[name], settings.rate_hz) for name in SOUNDS}
    cases = _cases(config, model, folder, sounds) if told else []
    return Exported(graphs={"classifier": _graph(model, settings, list(sounds.values()))}, assets={}, config=config, cases=cases)


def _settings(folder: Path, config: Any, told: Mapping[str, Any] | None) -> FbankSettings | WaveformSettings:
    """What the checkpoint says, or what golden sounds are made by where it says nothing."""
    if config.model_type != "audio-spectrogram-transformer":
        return WaveformSettings.from_extractor(told or {})
    found = FbankSettings.from_extractor(told or {"num_mel_bins": config.num_mel_bins, "max_length": config.max_length})
    if (found.frames, found.mels) != (config.max_length, config.num_mel_bins):
        raise MmedgeError(
            f"the feature extractor of {folder} gives {found.frames} frames of {found.mels} bands; the model takes {config.max_length}, {config.num_mel_bins}",
            "get the preprocessor_config.json saved with the model",
        )
    return found


def _graph(model: Any, settings: FbankSettings | WaveformSettings, sounds: list[Samples]) -> TorchGraph:
    """Traced with both golden sounds, as far as the shorter one goes; held against the module with the whole of the longer one too."""
    if isinstance(settings, FbankSettings):
        make = Fbank(settings)
        both, longest = torch.cat([torch.from_numpy(make(sound)) for sound in sounds]), torch.from_numpy(make(max(sounds, key=len)))
        axes = {0: "batch"}
    else:
        shortest = min(map(len, sounds))
        both = torch.cat([torch.from_numpy(waveform(sound[:shortest], settings)) for sound in sounds])
        longest, axes = torch.from_numpy(waveform(max(sounds, key=len), settings)), {0: "batch", 1: "samples"}
    return TorchGraph(Encoder(model), {"input_values": both}, ("logits",), {"input_values": axes}, {"input_values": longest})


def _cases(config: Config, model: Any, folder: Path, sounds: Mapping[str, Samples]) -> list[Case]:
    """What transformers' own feature extractor and model make of the golden sounds, each by itself."""
    settings = config.fbank or config.waveform
    assert settings is not None
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # ValueError, OSError, KeyError, ImportError and more
        raise MmedgeError(
            f"transformers cannot make {folder}'s feature extractor: {first_line(error)}", "get the preprocessor_config.json saved with the model"
        ) from error
    source = f"transformers {metadata.version('transformers')}"
    cases: list[Case] = []
    for name, samples in sounds.items():
        values: Tensor = extractor(samples, sampling_rate=settings.rate_hz, return_tensors="pt")["input_values"]
        with torch.no_grad():
            logits = model(input_values=values).logits[0]
        likely = {"softmax": logits.softmax(-1), "sigmoid": logits.sigmoid(), "none": logits}[config.activation]
        order = likely.argsort(descending=True, stable=True)[:TOP]
        best = [[config.labels[int(at)], float(likely[at])] for at in order]
        if not cases:
            cases.append(Case("processor", "features", {"sound": f"@{name}"}, values.numpy(), source=source, atol=1e-4))
        cases.append(Case("verb", "classify", {"sound": f"@{name}", "top": TOP}, best, source=source, atol=1e-3))
    return cases
