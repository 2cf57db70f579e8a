"""Read checkpoints: CLIP's and SigLIP's as transformers saves them, and the two halves of a joined one. Part of export: torch allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.processors.text import TextSettings

MODELS = {"clip": "CLIPModel", "siglip": "SiglipModel"}

PADS = {"clip": "<|endoftext|>", "siglip": "</s>"}
"""What fills short texts where the checkpoint does not say."""


def read_json(path: Path, kind: type) -> Any:
    """Raises MmedgeError: missing, not JSON, or not a ``kind``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MmedgeError(f"{path} cannot be read as JSON: {error}", "get an undamaged checkpoint") from error
    if not isinstance(content, kind):
        raise MmedgeError(f"{path} holds something else than a {kind.__name__}", "get an undamaged checkpoint")
    return content


def load_towers(folder: Path, kind: str) -> Any:
    """The whole model, in float32. Raises MmedgeError: weights are missing, damaged, or only there as a pickle."""
    if not any(folder.glob("*.safetensors")):
        raise MmedgeError(f"{folder} holds no weights in safetensors", "convert it: model.save_pretrained(folder) of transformers writes them")
    model_class = getattr(need("transformers", extra="build"), MODELS[kind])
    try:
        model, report = model_class.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, attn_implementation="eager", dtype="float32", output_loading_info=True
        )
    except Exception as error:  # transformers and safetensors raise many kinds for damaged files
        raise MmedgeError(f"{folder} cannot be loaded: {_first_line(error)}", "get an undamaged checkpoint") from error
    if missing := sorted(report["missing_keys"]):
        raise MmedgeError(f"{folder} lacks weights, first {missing[0]}", "get a complete checkpoint")
    return model.eval()


def load_bert(folder: Path) -> Any:
    """``sentence_encoder.json`` (a BERT config) and ``sentence_encoder.safetensors``. Raises MmedgeError: damaged, or they do not fit each other."""
    transformers, safetensors = need("transformers", extra="build"), need("safetensors.torch", extra="build")
    path = folder / "sentence_encoder.safetensors"
    config = transformers.BertConfig(**read_json(folder / "sentence_encoder.json", dict), attn_implementation="eager")
    bert = transformers.BertModel(config, add_pooling_layer=False)
    try:
        # The pooler belongs to BERT's training; positions are counted, not learned.
        weights = {name: value for name, value in safetensors.load_file(path).items() if not name.startswith("pooler.") and not name.endswith("position_ids")}
        bert.load_state_dict(weights)
    except Exception as error:  # SafetensorError, which derives from Exception alone, or RuntimeError
        raise MmedgeError(f"{path} does not hold the weights of that BERT: {_first_line(error)}", "get an undamaged checkpoint") from error
    return bert.eval()


def load_tokenizer(folder: Path, kind: str, positions: int) -> tuple[bytes, TextSettings]:
    """(tokenizer.json, how long texts are). Raises MmedgeError: there is no tokenizer that the tokenizers package can run."""
    if (folder / "tokenizer.json").is_file():
        content, token = (folder / "tokenizer.json").read_bytes(), None
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            found = read_json(folder / name, dict).get("pad_token") if (folder / name).is_file() else None
            token = (found.get("content") if isinstance(found, dict) else found) or token
    else:
        try:
            tokenizer = need("transformers", extra="build").AutoTokenizer.from_pretrained(folder, local_files_only=True)
            content, token = tokenizer.backend_tokenizer.to_str().encode(), tokenizer.pad_token
        except Exception as error:  # transformers raises ValueError, OSError, ImportError, AttributeError and more here
            raise MmedgeError(f"{folder} holds no tokenizer.json: {_first_line(error)}", "save it with a fast tokenizer of transformers") from error
    return content, text_settings(content, token or PADS[kind], positions, fixed=kind == "siglip")


def text_settings(tokenizer: bytes, pad_token: str, length: int, *, fixed: bool) -> TextSettings:
    """Raises MmedgeError: the tokenizer is damaged, or lacks its padding token."""
    try:
        pad_id = Tokenizer.from_buffer(tokenizer).token_to_id(pad_token)
    except Exception as error:  # tokenizers raises a bare Exception
        raise MmedgeError(f"tokenizer.json is no tokenizer: {_first_line(error)}", "get an undamaged checkpoint") from error
    if pad_id is None:
        raise MmedgeError(f"the tokenizer has no token {pad_token!r} to fill short texts with", "get the checkpoint's own tokenizer")
    return TextSettings(length=length, fixed=fixed, pad_id=pad_id, pad_token=pad_token)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
