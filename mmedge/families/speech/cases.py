"""What transformers makes of the golden sounds. Part of export: torch allowed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from mmedge.families.speech.checkpoint import Checkpoint
from mmedge.family import Case, Media
from mmedge.need import need
from mmedge.processors.audio import Samples, load_sound
from mmedge.processors.log_mel import RATE_HZ
from mmedge.processors.resample import resample


def reference_tokens(checkpoint: Checkpoint, samples: Samples, max_tokens: int) -> list[int]:
    """Greedy tokens of transformers' own ``generate`` over the window of training, without prompt and stop token.

    Args:
        samples: float32 [n] at 16 kHz, at most as long as that window.
    """
    torch, transformers = need("torch", extra="build"), need("transformers", extra="build")
    config, model = checkpoint.config, checkpoint.model
    extractor = transformers.WhisperFeatureExtractor(feature_size=config.mels, chunk_length=model.config.max_source_positions // 50)
    features = extractor(samples, sampling_rate=RATE_HZ, return_tensors="pt").input_features
    settings = transformers.GenerationConfig(
        decoder_start_token_id=config.prompt[0],
        eos_token_id=config.stop,
        pad_token_id=config.stop,
        no_timestamps_token_id=config.prompt[-1],
        suppress_tokens=list(config.suppress) or None,
        begin_suppress_tokens=list(config.suppress_first) or None,
        is_multilingual=False,  # the prompt is given whole, nothing is to be detected
        return_timestamps=False,
        num_beams=1,
        do_sample=False,
        max_length=None,
        max_new_tokens=min(max_tokens, config.max_tokens - len(config.prompt)),
    )
    with torch.no_grad(), _quiet(transformers):
        tokens: list[int] = model.generate(features, generation_config=settings, decoder_input_ids=torch.tensor([config.prompt]))[0].tolist()
    tokens = tokens[len(config.prompt) :] if tokens[: len(config.prompt)] == list(config.prompt) else tokens
    return (tokens[: tokens.index(config.stop)] if config.stop in tokens else tokens)[:max_tokens]


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """``generate`` warns about settings that Whisper's own part of it makes."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)


def golden_cases(checkpoint: Checkpoint, media: Media) -> list[Case]:
    """Features of the question in the smallest window, and the words of both sounds as heard in the window of training."""
    transformers = need("transformers", extra="build")
    window_s = checkpoint.config.windows_s[0]
    sounds: dict[str, Any] = {}
    for name in ("question", "remark"):
        samples, rate_hz = load_sound(media[name])
        sounds[name] = resample(samples, rate_hz, RATE_HZ)
    extractor = transformers.WhisperFeatureExtractor(feature_size=checkpoint.config.mels, chunk_length=window_s)
    features = extractor(sounds["question"], sampling_rate=RATE_HZ, return_tensors="np").input_features
    source = f"transformers {transformers.__version__}"
    cases = [Case("processor", "log_mel", {"sound": "@question", "window_s": window_s}, features, f"{source} WhisperFeatureExtractor", atol=1e-4)]
    for name, samples in sounds.items():
        text = checkpoint.tokenizer.decode(reference_tokens(checkpoint, samples, 100), skip_special_tokens=True).strip()
        cases.append(Case("verb", "transcribe", {"sound": f"@{name}"}, text, f"{source} generate, greedy, 30 s"))
    return cases
