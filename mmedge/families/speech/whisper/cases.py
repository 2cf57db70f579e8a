"""What transformers makes of the golden sounds with Whisper. Part of export: torch allowed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mmedge.families.speech.whisper.checkpoint import Checkpoint
from mmedge.family import Case, Media
from mmedge.generate.decode import until_loop
from mmedge.need import need
from mmedge.processors.audio import Samples, sound_at
from mmedge.processors.log_mel import RATE_HZ
from mmedge.processors.tokenizer import spread_ids

TOKENS = 20
SURE = -1.0
"""Mean log-probability of a token above which a model knows what it hears: its text is held against the session's, which looks through smaller windows and
keeps silent when in doubt. Of a model that guesses, only the tokens are."""


@dataclass(frozen=True)
class Reference:
    """Greedy tokens of transformers' own ``generate`` over the window of training, without prompt and stop token."""

    tokens: list[int]
    avg_logprob: float
    stopped: bool
    """Whether there was a stop token."""


def reference(checkpoint: Checkpoint, samples: Samples, max_tokens: int) -> Reference:
    """samples: float32 [n] at 16 kHz; what is longer than the window is cut off."""
    torch, transformers = need("torch", extra="build"), need("transformers", extra="build")
    config, model = checkpoint.config, checkpoint.model
    extractor = transformers.WhisperFeatureExtractor(feature_size=config.mels, chunk_length=checkpoint.trained_s)
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
        output_scores=True,
        return_dict_in_generate=True,
    )
    with torch.no_grad(), _quiet(transformers):
        prompt = torch.tensor([config.prompt])
        # One call of the decode loop: Whisper's own part of generate would go on from what it takes for a timestamp.
        found = model.generate(features, generation_config=settings, decoder_input_ids=prompt, force_unique_generate_call=True)
    tokens = found.sequences[0, len(config.prompt) :].tolist()
    stopped = config.stop in tokens
    tokens = tokens[: tokens.index(config.stop) + 1] if stopped else tokens
    chosen = [float(scores[0].log_softmax(-1)[token]) for scores, token in zip(found.scores, tokens)]
    return Reference(tokens[:-1] if stopped else tokens, sum(chosen) / len(chosen), stopped)


def reference_tokens(checkpoint: Checkpoint, samples: Samples, max_tokens: int) -> list[int]:
    """Of ``reference``, up to where our decoder would notice that it goes in circles."""
    return until_loop(reference(checkpoint, samples, max_tokens).tokens)


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
    """Features of the question in the smallest window; words of tokens from all over the vocabulary; both sounds as heard in the window of training.

    Of those, tokens, and words where the model is sure of them.
    """
    transformers = need("transformers", extra="build")
    config = checkpoint.config
    sounds = {name: sound_at(media[name], RATE_HZ) for name in ("question", "remark")}
    extractor = transformers.WhisperFeatureExtractor(feature_size=config.mels, chunk_length=config.windows_s[0])
    features = extractor(sounds["question"], sampling_rate=RATE_HZ, return_tensors="np").input_features
    source = f"transformers {transformers.__version__}"
    generated = f"{source} generate, greedy, {checkpoint.trained_s} s"
    cases = [Case("processor", "features", {"sound": "@question"}, features, f"{source} WhisperFeatureExtractor", atol=1e-4)]
    if checkpoint.words:
        ids = spread_ids(checkpoint.words)
        cases.append(Case("processor", "words", {"tokens": ids}, checkpoint.words.decode(ids), f"tokenizers {need('tokenizers', extra='build').__version__}"))
    for name, samples in sounds.items():
        found = reference(checkpoint, samples, 100)
        if config.windows_s[-1] == checkpoint.trained_s:
            expected = until_loop(found.tokens[:TOKENS])
            cases.append(Case("verb", "tokens", {"sound": f"@{name}", "max_tokens": TOKENS}, expected, generated))
        if checkpoint.words and found.stopped and found.avg_logprob >= SURE:
            text = checkpoint.words.decode(found.tokens, skip_special_tokens=True).strip()
            cases.append(Case("verb", "transcribe", {"sound": f"@{name}"}, text, generated))
    return cases
