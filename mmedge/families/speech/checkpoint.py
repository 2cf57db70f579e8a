"""A folder with Whisper weights -> transformers' model and what the session needs to know. Part of export: torch allowed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmedge.errors import MmedgeError
from mmedge.families.speech import Config, Options, takes
from mmedge.families.speech.ctranslate2 import whisper_weights
from mmedge.need import need

ENGLISH_ONLY_TOKENS = 51_864
"""The vocabulary of the English-only checkpoints; the multilingual ones have one more, and large-v3 two."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    model: Any
    """transformers.WhisperForConditionalGeneration in float32, ready for ``generate``."""
    tokenizer: Any
    """tokenizers.Tokenizer."""
    config: Config


def read_checkpoint(folder: Path, options: Options) -> Checkpoint:
    """Load a transformers folder (safetensors) or a CTranslate2 folder (model.bin).

    Raises:
        MmedgeError: a file is missing or damaged, the model is none that this family exports, or it does not know the language.
    """
    settings = _json(folder / "config.json")
    if takes(folder):
        model = _from_ctranslate2(folder)
        suppress, first = settings.get("suppress_ids", []), settings.get("suppress_ids_begin", [])
        multilingual = model.config.vocab_size > ENGLISH_ONLY_TOKENS
    else:
        model = _from_transformers(folder)
        generation = _json(folder / "generation_config.json", required=False)
        suppress = generation.get("suppress_tokens") or settings.get("suppress_tokens") or []
        first = generation.get("begin_suppress_tokens") or settings.get("begin_suppress_tokens") or []
        multilingual = generation.get("is_multilingual", model.config.vocab_size > ENGLISH_ONLY_TOKENS)
    if model.config.activation_function != "gelu" or model.config.scale_embedding:
        raise MmedgeError(f"{folder} is a Whisper with another activation or scaled embeddings", "name a checkpoint with Whisper's own architecture")
    tokenizer = _tokenizer(folder / "tokenizer.json")
    return Checkpoint(model.eval(), tokenizer, _config(folder, options, model, tokenizer, (suppress, first), multilingual))


def _config(folder: Path, options: Options, model: Any, tokenizer: Any, suppress: tuple[list[int], list[int]], multilingual: bool) -> Config:
    def token(*texts: str) -> int:
        found = [value for text in texts if (value := tokenizer.token_to_id(text)) is not None]
        if not found:
            raise MmedgeError(f"{folder / 'tokenizer.json'} has no token {texts[0]}", "get the tokenizer that belongs to the checkpoint")
        return int(found[0])

    prompt = [token("<|startoftranscript|>")]
    if multilingual:
        if tokenizer.token_to_id(f"<|{options.language}|>") is None:
            raise MmedgeError(f"the model knows no language {options.language!r}", "set the option language to one of Whisper's codes, such as en or de")
        prompt += [token(f"<|{options.language}|>"), token("<|transcribe|>")]
    elif options.language != "en":
        raise MmedgeError(f"{folder} is an English-only model; the recipe asks for {options.language!r}", 'use a multilingual checkpoint, or language = "en"')
    sizes = model.config
    config = Config(
        mels=sizes.num_mel_bins,
        layers=sizes.decoder_layers,
        heads=sizes.decoder_attention_heads,
        head_dim=sizes.d_model // sizes.decoder_attention_heads,
        windows_s=options.windows_s,
        prompt=(*prompt, token("<|notimestamps|>")),
        stop=token("<|endoftext|>"),
        no_speech=tokenizer.token_to_id("<|nospeech|>") or tokenizer.token_to_id("<|nocaptions|>"),
        suppress=tuple(value for value in suppress[0] if 0 <= value < sizes.vocab_size),
        suppress_first=tuple(value for value in suppress[1] if 0 <= value < sizes.vocab_size),
        max_tokens=sizes.max_target_positions,
    )
    if options.windows_s[-1] * 50 > sizes.max_source_positions:
        raise MmedgeError(f"the model listens to {sizes.max_source_positions / 50:g} s at most", "lower windows_s in the recipe's options")
    if max(*config.prompt, config.stop, config.no_speech or 0) >= sizes.vocab_size:
        raise MmedgeError(f"{folder / 'tokenizer.json'} has more tokens than the model", "get the tokenizer that belongs to the checkpoint")
    return config


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


def _from_transformers(folder: Path) -> Any:
    torch, transformers = need("torch", extra="build"), need("transformers", extra="build")
    safetensors = need("safetensors", extra="build")
    if not list(folder.glob("*.safetensors")):
        raise MmedgeError(f"{folder} holds no *.safetensors (nor a CTranslate2 model.bin)", "convert the checkpoint: model.save_pretrained(folder)")
    try:
        model, info = transformers.WhisperForConditionalGeneration.from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, safetensors.SafetensorError) as error:
        raise MmedgeError(f"{folder} cannot be loaded as Whisper: {str(error).strip().splitlines()[0]}", "get the checkpoint again") from error
    if wrong := sorted(map(str, [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]])):
        raise MmedgeError(f"the weights in {folder} do not fit Whisper, first {wrong[0]}", "get the checkpoint again")
    return model


def _tokenizer(path: Path) -> Any:
    tokenizers = need("tokenizers", extra="build")
    if not path.is_file():
        raise MmedgeError(f"there is no {path}", "add it: AutoTokenizer.from_pretrained(...).save_pretrained(folder)")
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises Exception itself
        raise MmedgeError(f"{path} is no tokenizer: {error}", "get the file again") from error


def _json(path: Path, *, required: bool = True) -> dict[str, Any]:
    if not required and not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MmedgeError(f"{path} cannot be read as JSON: {error}", "get the checkpoint again") from error
    if not isinstance(content, dict):
        raise MmedgeError(f"{path} holds no JSON object", "get the checkpoint again")
    return content
