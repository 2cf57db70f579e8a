"""The JSON files of a folder -> what a session must know. Part of export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from mmedge.documents import read_plain
from mmedge.errors import MmedgeError
from mmedge.families.onnx import Config, Options, surgery
from mmedge.families.onnx.layout import Parts
from mmedge.generate.template import read_template
from mmedge.processors.fbank import FbankSettings
from mmedge.processors.pixels import ImageSettings
from mmedge.processors.text import TextSettings
from mmedge.processors.waveform import WaveformSettings

CLIP_SCALE = 100.0
"""What CLIP's learned scale is held below, and reaches (Radford et al. 2021, section 2.5); files of separate towers do not hold it."""
LIMITS = ("max_target_positions", "max_position_embeddings", "n_positions", "n_ctx", "max_length")
LONGEST = 512


def settings(folder: Path, parts: Parts, config: dict[str, Any], options: Options, tokenizer: bytes | None) -> tuple[Config, str | None]:
    """The config, and the chat template where there is one. Raises MmedgeError: a file is damaged."""
    made: dict[str, Any] = {"kind": parts.kind, "graphs": tuple(parts.models), "takes": parts.takes, "tokenizer": tokenizer is not None}
    if parts.kind == "plain":
        return Config(**made), None
    processor, generation = (read_plain(folder / name, required=False) for name in ("preprocessor_config.json", "generation_config.json"))
    words = _tokenizer(folder, tokenizer)
    images = parts.kind in ("captioner", "dual") or parts.takes == "image"
    if images and processor:
        made["image"] = ImageSettings.from_preprocessor(processor)
    if parts.takes == "audio" and processor:
        spectrogram = len(parts.models["classifier"].graph.inputs[0].shape) == 3
        made["fbank" if spectrogram else "waveform"] = (FbankSettings if spectrogram else WaveformSettings).from_extractor(processor)
    if words is not None and (parts.kind == "dual" or parts.takes == "text"):
        made["text"] = _text(folder, config, words)
    if parts.kind == "dual":
        made["scale"] = CLIP_SCALE
    if parts.kind == "classifier":
        made["labels"] = _labels(config, parts)
    template = read_template(folder) if parts.kind == "chat" and words is not None else None
    if template:
        made |= {"template": True, "special": template.tokens}
    if parts.kind in ("speech", "captioner", "chat"):
        made |= _decoding(parts, config, generation, options)
    return Config(**made), template.text if template else None


def _tokenizer(folder: Path, content: bytes | None) -> Tokenizer | None:
    try:
        return Tokenizer.from_buffer(content) if content else None
    except Exception as error:  # tokenizers raises a bare Exception
        raise MmedgeError(f"{folder / 'tokenizer.json'} is no tokenizer: {error}", "get an undamaged copy") from error


def _text(folder: Path, config: dict[str, Any], words: Tokenizer) -> TextSettings:
    files = (read_plain(folder / name, required=False) for name in ("tokenizer_config.json", "special_tokens_map.json"))
    named = next((token for file in files if (token := file.get("pad_token"))), None)
    token = named.get("content") if isinstance(named, dict) else named
    sizes = config.get("text_config") or config
    length = next((sizes[name] for name in LIMITS if isinstance(sizes.get(name), int)), LONGEST)
    number = words.token_to_id(token) if isinstance(token, str) else None
    if number is None:  # nothing names it: what fills is masked, where the model takes a mask
        number = int(sizes.get("pad_token_id") or 0)
        token = words.id_to_token(number) or ""
    return TextSettings(length=min(length, LONGEST), pad_id=number, pad_token=str(token))


def _labels(config: dict[str, Any], parts: Parts) -> tuple[str, ...]:
    named = config.get("id2label") or {}
    count = parts.models["classifier"].graph.outputs[0].shape[1]
    size = count if isinstance(count, int) else len(named)
    return tuple(str(named.get(str(index), f"LABEL_{index}")) for index in range(size))


def _decoding(parts: Parts, config: dict[str, Any], generation: dict[str, Any], options: Options) -> dict[str, Any]:
    decoder = config.get("decoder") if isinstance(config.get("decoder"), dict) else {}
    given = {
        **(decoder or {}),
        **{key: value for key, value in config.items() if value is not None},
        **{key: value for key, value in generation.items() if value is not None},
    }
    stop = given.get("eos_token_id")
    sizes = {**(decoder or {}), **config}
    made: dict[str, Any] = {
        "stop": tuple(stop) if isinstance(stop, list) else (stop,) if isinstance(stop, int) else (),
        "suppress": tuple(given.get("suppress_tokens") or ()),
        "suppress_first": tuple(given.get("begin_suppress_tokens") or ()),
        "limit": next((sizes[name] for name in LIMITS if isinstance(sizes.get(name), int)), LONGEST),
    }
    if parts.kind == "chat":
        return made
    first = given.get("decoder_start_token_id", given.get("bos_token_id"))
    if not isinstance(first, int):
        raise MmedgeError("neither config.json nor generation_config.json names a decoder_start_token_id", "get the config files of the model")
    made["start"] = (first, *(_heard(generation, options.language) if parts.kind == "speech" else ()))
    if parts.kind == "speech":
        mels = surgery.feeds(parts.models["encoder"])[0].shape[1]
        made["mels"] = mels if isinstance(mels, int) else int(config.get("num_mel_bins") or 80)
    return made


def _heard(generation: dict[str, Any], language: str) -> tuple[int, ...]:
    """Whisper's prompt after its first token: the language and the task where it knows several, and that no times are wanted."""
    made: list[Any] = []
    if generation.get("is_multilingual"):
        languages, tasks = generation.get("lang_to_id") or {}, generation.get("task_to_id") or {}
        if f"<|{language}|>" not in languages:
            known = ", ".join(sorted(name.strip("<|>") for name in languages))
            raise MmedgeError(f"this recogniser does not know the language {language!r}", f"set the option language to one of: {known}")
        made += [languages[f"<|{language}|>"], tasks.get("transcribe")]
    made.append(generation.get("no_timestamps_token_id"))
    return tuple(token for token in made if isinstance(token, int))
