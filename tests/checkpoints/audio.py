"""Small classifiers of sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from checkpoints import spread

LAYERS = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
WAVE = {
    **LAYERS,
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 8, 4],
    "conv_stride": [10, 8, 4],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 16,
}
LABELS = {"id2label": dict(enumerate(["Speech", "Dog", "Cat", "Rain", "Music", "Engine"])), "num_labels": 6}


def make_ast(folder: Path, complete: bool = True, **options: Any) -> transformers.PreTrainedModel:
    """128 frames of 32 bands; several labels at once, as AudioSet has them."""
    sizes = {"max_length": 128, "num_mel_bins": 32, "patch_size": 8, "frequency_stride": 8, "time_stride": 8, "problem_type": "multi_label_classification"}
    model = transformers.ASTForAudioClassification(transformers.ASTConfig(**LAYERS, **sizes, **LABELS, **options))
    if complete:
        transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=128).save_pretrained(folder)
    return _saved(model, folder)


def make_wav2vec2(folder: Path, complete: bool = True, **options: Any) -> transformers.PreTrainedModel:
    return _wave("Wav2Vec2", folder, complete, **options)


def make_hubert(folder: Path, complete: bool = True) -> transformers.PreTrainedModel:
    """As SUPERB's: a weighted sum over the layers."""
    return _wave("Hubert", folder, complete, use_weighted_layer_sum=True, feat_extract_norm="layer", do_stable_layer_norm=True)


def make_wavlm(folder: Path, complete: bool = True) -> transformers.PreTrainedModel:
    return _wave("WavLM", folder, complete)


def make_unispeech_sat(folder: Path, complete: bool = True) -> transformers.PreTrainedModel:
    return _wave("UniSpeechSat", folder, complete)


CHECKPOINTS = {
    "ASTForAudioClassification": make_ast,
    "Wav2Vec2ForSequenceClassification": make_wav2vec2,
    "HubertForSequenceClassification": make_hubert,
    "WavLMForSequenceClassification": make_wavlm,
    "UniSpeechSatForSequenceClassification": make_unispeech_sat,
}


def _wave(kind: str, folder: Path, complete: bool, **options: Any) -> transformers.PreTrainedModel:
    model = getattr(transformers, f"{kind}ForSequenceClassification")(getattr(transformers, f"{kind}Config")(**WAVE, **LABELS, **options))
    if complete:
        transformers.Wav2Vec2FeatureExtractor(return_attention_mask="layer" in options.values()).save_pretrained(folder)
    return _saved(model, folder)


def _saved(model: transformers.PreTrainedModel, folder: Path) -> transformers.PreTrainedModel:
    spread(model, scale=0.5)
    model.save_pretrained(folder)
    return model
