"""A checkpoint folder of transformers -> its module, strictly: safetensors only, every weight accounted for, no code from the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from mmedge.errors import MmedgeError
from mmedge.family import Allow


def read_json(path: Path, kind: type = dict, *, required: bool = True) -> Any:
    """Raises MmedgeError: missing (unless not ``required``: then an empty ``kind``), not JSON, or not a ``kind``."""
    if not required and not path.is_file():
        return kind()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MmedgeError(f"{path} cannot be read as JSON: {error}", "get an undamaged checkpoint") from error
    if not isinstance(content, kind):
        raise MmedgeError(f"{path} holds something else than a {kind.__name__}", "get an undamaged checkpoint")
    return content


def load(architecture: str, folder: Path, allow: Allow, *, attention: str = "eager") -> Any:
    """``transformers.ARCHITECTURE`` in float32, in eval mode.

    Args:
        architecture: the name of transformers' class.
        attention: which attention its layers use; ``mmedge.nets.cache.ATTENTION`` for decoders.

    Raises:
        MmedgeError: weights are missing, extra, of another shape, damaged, or only there as a pickle; or the folder wants to bring its own code.
    """
    if not any(folder.glob("*.safetensors")):
        raise MmedgeError(f"{folder} holds no weights in safetensors", "convert it: model.save_pretrained(folder) of transformers writes them")
    try:
        model, found = getattr(transformers, architecture).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, attn_implementation=attention, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # transformers and safetensors raise many kinds for damaged files
        raise MmedgeError(f"{folder} cannot be loaded as {architecture}: {first_line(error)}", "get an undamaged checkpoint") from error
    wrong = {"lacks": found["missing_keys"], "has unknown": found["unexpected_keys"], "has other shapes for": found["mismatched_keys"]}
    for how, keys in wrong.items():
        if keys and not allow.weights:
            name = sorted(map(str, keys))[0]
            raise MmedgeError(
                f"{folder} {how} weights of {architecture}, first {name} ({len(keys)} in all)", "get a complete checkpoint, or accept it with --any-weights"
            )
    return model.eval()


def tokenizer(folder: Path) -> bytes | None:
    """``tokenizer.json``, from the folder or made by transformers from a slow tokenizer's files; None where the checkpoint brings no tokenizer."""
    if (folder / "tokenizer.json").is_file():
        return (folder / "tokenizer.json").read_bytes()
    try:
        found = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
        content: bytes = found.backend_tokenizer.to_str().encode()
        return content
    except Exception:  # ValueError, OSError, ImportError, AttributeError and more: there is none that the package tokenizers can run
        return None


def first_line(error: Exception) -> str:
    """What an error says first, or its kind."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
