"""A folder with Whisper weights -> transformers' model and what the session needs to know. Part of export: torch allowed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmedge.documents import read_plain
from mmedge.errors import MmedgeError
from mmedge.families.speech import Options, WhisperConfig, takes
from mmedge.families.speech.parts import read_words
from mmedge.families.speech.whisper.ctranslate2 import whisper_weights
from mmedge.family import Allow
from mmedge.need import need
from mmedge.nets.checkpoint import load
from mmedge.processors.log_mel import HOP, N_FFT, RATE_HZ

ENGLISH_ONLY_TOKENS = 51_864
"""The vocabulary of the English-only checkpoints; the multilingual ones have one more, and large-v3 two."""


FRAMES_PER_S = 50
"""Of the encoder's outputs."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    model: Any
    """transformers.WhisperForConditionalGeneration in float32, ready for ``generate``."""
    tokenizer: bytes | None
    """tokenizer.json."""
    words: Any
    """The tokenizers.Tokenizer in it."""
    config: WhisperConfig

    @property
    def trained_s(self) -> int:
        """The window of training, in seconds."""
        return int(self.model.config.max_source_positions // FRAMES_PER_S)


def read_checkpoint(folder: Path, options: Options, allow: Allow = Allow()) -> Checkpoint:
    """Load a transformers folder (safetensors) or a CTranslate2 folder (model.bin).

    Raises:
        MmedgeError: a file is missing or damaged, the model is none that this family exports, or it does not know the language.
    """
    settings = read_plain(folder / "config.json")
    if takes(folder):
        model = _from_ctranslate2(folder)
        lists = _tokens(settings, "suppress_ids", folder), _tokens(settings, "suppress_ids_begin", folder)
        multilingual = model.config.vocab_size > ENGLISH_ONLY_TOKENS
    else:
        model = load("WhisperForConditionalGeneration", folder, allow)
        generation = read_plain(folder / "generation_config.json", required=False)
        told = {**settings, **{key: value for key, value in generation.items() if value}}
        lists = _tokens(told, "suppress_tokens", folder), _tokens(told, "begin_suppress_tokens", folder)
        multilingual = generation.get("is_multilingual", model.config.vocab_size > ENGLISH_ONLY_TOKENS)
    if model.config.activation_function != "gelu" or model.config.scale_embedding:
        raise MmedgeError(f"{folder} is a Whisper with another activation or scaled embeddings", "name a checkpoint with Whisper's own architecture")
    _check_features(folder)
    content, words = read_words(folder)
    prompt = {"prompt": (model.config.decoder_start_token_id,), "stop": _first(model.config.eos_token_id), "no_speech": None}
    if words is not None:
        prompt = _prompt(folder, options, words, multilingual, model.config.vocab_size)
    config = WhisperConfig(
        mels=model.config.num_mel_bins,
        windows_s=_windows(options, model.config.max_source_positions),
        tokenizer=words is not None,
        **prompt,
        suppress=tuple(token for token in lists[0] if token < model.config.vocab_size),
        suppress_first=tuple(token for token in lists[1] if token < model.config.vocab_size),
        max_tokens=model.config.max_target_positions,
    )
    return Checkpoint(model.eval(), content, words, config)


def _windows(options: Options, positions: int) -> tuple[int, ...]:
    """Those asked for; otherwise those of the default that the model was trained for, or its own."""
    if "windows_s" in options.model_fields_set and options.windows_s[-1] * FRAMES_PER_S <= positions:
        return options.windows_s
    if "windows_s" in options.model_fields_set or positions < FRAMES_PER_S:
        raise MmedgeError(f"the model listens to {positions / FRAMES_PER_S:g} s at most", "lower windows_s in the recipe's options")
    return tuple(window_s for window_s in options.windows_s if window_s * FRAMES_PER_S <= positions) or (positions // FRAMES_PER_S,)


def _prompt(folder: Path, options: Options, words: Any, multilingual: bool, vocabulary: int) -> dict[str, Any]:
    """The special tokens by the tokenizer's names for them."""
    path = folder / "tokenizer.json"

    def token(text: str) -> int:
        if (found := words.token_to_id(text)) is None:
            raise MmedgeError(f"{path} has no token {text}", "get the tokenizer that belongs to the checkpoint")
        return int(found)

    prompt = [token("<|startoftranscript|>")]
    if multilingual:
        if words.token_to_id(f"<|{options.language}|>") is None:
            raise MmedgeError(f"the model knows no language {options.language!r}", "set the option language to one of Whisper's codes, such as en or de")
        prompt += [token(f"<|{options.language}|>"), token("<|transcribe|>")]
    elif options.language != "en":
        raise MmedgeError(f"{folder} is an English-only model; the recipe asks for {options.language!r}", 'use a multilingual checkpoint, or language = "en"')
    prompt.append(token("<|notimestamps|>"))
    stop, nobody = token("<|endoftext|>"), next(filter(None, map(words.token_to_id, ("<|nospeech|>", "<|nocaptions|>"))), None)
    if max(*prompt, stop, nobody or 0) >= vocabulary:
        raise MmedgeError(f"{path} has more tokens than the model", "get the tokenizer that belongs to the checkpoint")
    return {"prompt": tuple(prompt), "stop": stop, "no_speech": nobody}


def _tokens(settings: dict[str, Any], key: str, folder: Path) -> list[int]:
    """A list of tokens under ``key``; empty where there is none. transformers writes -1 for what it decides by itself."""
    found = settings.get(key) or []
    if not isinstance(found, list) or not all(type(token) is int for token in found):
        raise MmedgeError(f"{folder}: {key} is no list of tokens", "get an undamaged checkpoint")
    return [token for token in found if token >= 0]


def _first(tokens: Any) -> Any:
    return tokens[0] if isinstance(tokens, list) else tokens


def _check_features(folder: Path) -> None:
    """Whisper's features are the architecture's own, so a checkpoint need not tell of them; it must not tell of others."""
    nested = read_plain(folder / "processor_config.json", required=False).get("feature_extractor")
    told = nested if isinstance(nested, dict) else read_plain(folder / "preprocessor_config.json", required=False)
    for key, own in (("sampling_rate", RATE_HZ), ("n_fft", N_FFT), ("hop_length", HOP)):
        if told.get(key, own) != own:
            raise MmedgeError(f"{folder} wants features of its own: {key} {told[key]} instead of {own}", "name a checkpoint with Whisper's own features")


def _from_ctranslate2(folder: Path) -> Any:
    torch, transformers = need("torch", extra="build"), need("transformers", extra="build")
    weights, sizes = whisper_weights(folder / "model.bin")
    # The special tokens come from the tokenizer; the defaults here are those of other checkpoints and may lie outside the vocabulary.
    config = transformers.WhisperConfig(**sizes, pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=0)
    with torch.device("meta"):
        model = transformers.WhisperForConditionalGeneration(config)
    try:
        model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()}, strict=True, assign=True)
    except RuntimeError as error:
        raise MmedgeError(f"{folder / 'model.bin'} does not fit Whisper: {str(error).splitlines()[1].strip()}", "get the file again") from error
    model.tie_weights()
    return model
