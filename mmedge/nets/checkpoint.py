"""A checkpoint folder of transformers -> its module, strictly: safetensors only, every weight accounted for, no network, no code from the folder unasked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer

from mmedge.documents import read_plain
from mmedge.errors import MmedgeError, first_line
from mmedge.family import Allow
from mmedge.nets.weight_files import few, refuse_bad_numbers, weight_files


def architecture_in(folder: Path, known: Collection[str], otherwise: str) -> str:
    """The first of the names ``known`` that config.json names. Raises MmedgeError, saying ``otherwise`` of the folder: it names none."""
    named = read_plain(folder / "config.json").get("architectures")
    found = [name for name in (named if isinstance(named, list) else []) if name in known]
    if not found:
        raise MmedgeError(f"{folder} {otherwise}", f"this family takes {', '.join(known)}")
    return str(found[0])


def load(architecture: str, folder: Path, allow: Allow, *, attention: str = "eager") -> Any:
    """``transformers.ARCHITECTURE`` in float32, in eval mode.

    Args:
        architecture: the name of transformers' class, or of the folder's own where ``allow.code``.
        attention: which attention its layers use; ``mmedge.nets.cache.ATTENTION`` for decoders.

    Raises:
        MmedgeError: config.json is wrong; weights are missing, extra, of another shape, not finite, damaged, or only there as a pickle;
            or the folder wants to bring its own code.
    """
    made = _own_class(architecture, folder, allow) or getattr(transformers, architecture, None)
    transformers.logging.set_verbosity_error()  # its reports and bars are about calls that the user did not make
    transformers.logging.disable_progress_bar()
    if made is None:
        raise MmedgeError(f"transformers {transformers.__version__} has no {architecture}", "use a version of transformers that has it")
    config = _read_config(made.config_class, folder)
    weight_files(folder)
    try:
        model, found = made.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            attn_implementation=attention,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, in better words
        )
    except MemoryError:
        raise
    except Exception as error:  # transformers and torch raise many kinds for what a config may say
        raise MmedgeError(f"{folder} cannot be loaded as {architecture}: {first_line(error)}", "get an undamaged checkpoint") from error
    for how, what, keys in _differences(architecture, found):
        if not allow.weights:
            raise MmedgeError(f"{folder} {how}: {few(keys)}", "get a complete checkpoint, or accept it as it is with --any-weights")
        allow.accept(architecture, what, keys)
    refuse_bad_numbers(str(folder), model.state_dict().items())
    return model.eval()


def load_config(folder: Path, allow: Allow) -> Any:
    """config.json as transformers understands it, by its ``model_type``. Raises MmedgeError: it does not, or the folder wants to bring its own code."""
    content = read_plain(folder / "config.json")
    _refuse_code(folder, content, allow)
    kind = content.get("model_type")
    if kind is None and (first := _first_architecture(content)) is not None and hasattr(transformers, first):
        return _read_config(getattr(transformers, first).config_class, folder)
    if "auto_map" in content and "AutoConfig" in content["auto_map"]:
        return _read_config(_dynamic(folder, content["auto_map"]["AutoConfig"]), folder)
    if not isinstance(kind, str) or kind not in transformers.CONFIG_MAPPING:
        said = "names no model_type" if kind is None else f"says model_type {kind!r}, which transformers {transformers.__version__} does not know"
        raise MmedgeError(f"{folder / 'config.json'} {said}", "get the config.json that was saved with the model")
    return _read_config(transformers.CONFIG_MAPPING[kind], folder)


def tokenizer(folder: Path) -> bytes | None:
    """``tokenizer.json``, from the folder or made by transformers from a slow tokenizer's files; None where the checkpoint brings no tokenizer.

    Raises:
        MmedgeError: that file is damaged, or another model's.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        given = path.read_bytes()
        try:
            found = Tokenizer.from_buffer(given)
        except Exception as error:  # tokenizers raises a bare Exception
            raise MmedgeError(f"{path} is no tokenizer: {first_line(error)}", "get an undamaged checkpoint") from error
        words, known = found.get_vocab_size(with_added_tokens=False), max(_vocabularies(folder), default=None)
        if known is not None and words > known:
            raise MmedgeError(f"{path} has {words} tokens and the model knows {known}: it is of another version", "get the tokenizer.json of this checkpoint")
        return given
    if not any(path.name.startswith(("vocab", "merges")) or path.suffix in (".model", ".tiktoken") for path in folder.iterdir()):
        return None  # transformers would invent one of its special tokens alone
    try:
        slow = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True, trust_remote_code=False)
        content: bytes = slow.backend_tokenizer.to_str().encode()
        return content
    except Exception:  # ValueError, OSError, ImportError, AttributeError and more: there is none that the package tokenizers can run
        return None


def _vocabularies(folder: Path) -> list[int]:
    """What config.json says of their sizes, that of a part of the model included."""
    path = folder / "config.json"
    waiting: list[Any] = [read_plain(path)] if path.is_file() else []
    found = []
    while waiting:
        one = waiting.pop()
        waiting += [value for value in one.values() if isinstance(value, dict)]
        found += [one["vocab_size"]] if isinstance(one.get("vocab_size"), int) else []
    return found


def _read_config(kind: Any, folder: Path) -> Any:
    path = folder / "config.json"
    said = read_plain(path).get("model_type")
    if said is not None and said != kind.model_type and not _whole_and_part(said, kind):
        raise MmedgeError(
            f"{path} says model_type {said!r}, but its architecture is of {kind.model_type!r}", "get the config.json that was saved with the model"
        )
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # huggingface_hub's StrictDataclassError, ValueError, TypeError, KeyError and more, by what a value broke
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        told = re.sub(r"^\w+Error: ", "", lines[1]) if lines[0].startswith("Validation error") and len(lines) > 1 else lines[0]
        raise MmedgeError(f"{path} holds a value that {kind.__name__} does not take: {told}", "correct it, or get an undamaged checkpoint") from error


def _whole_and_part(said: Any, kind: Any) -> bool:
    """Whether one is a part of the other, such as the vision tower of an image-text model: config classes read both."""
    if not isinstance(said, str) or said not in transformers.CONFIG_MAPPING:
        return False
    other = transformers.CONFIG_MAPPING[said]
    return kind in (getattr(other, "sub_configs", None) or {}).values() or other in (getattr(kind, "sub_configs", None) or {}).values()


def _differences(architecture: str, found: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """How the weights differ from the architecture's, what comes of it where that is accepted, and which they are.

    transformers has left out what it knows to be harmless, such as counted positions of older versions, and tied weights.
    """
    shapes = [f"{key} {list(here)} instead of {list(wanted)}" for key, here, wanted in found["mismatched_keys"]]
    for how, what, keys in (
        ("does not fit its config.json: weights of another shape", "made up for another shape", shapes),
        (f"lacks weights of {architecture}", "made up", found["missing_keys"]),
        (f"holds weights that {architecture} has not", "left out", found["unexpected_keys"]),
    ):
        if keys:
            yield how, what, sorted(map(str, keys))


def _own_class(architecture: str, folder: Path, allow: Allow) -> Any:
    """The class of the folder's own that has this name, where the user lets it run."""
    content = read_plain(folder / "config.json")
    _refuse_code(folder, content, allow)
    for reference in content.get("auto_map", {}).values():
        if isinstance(reference, str) and reference.endswith(f".{architecture}"):
            return _dynamic(folder, reference)
    return None


def _refuse_code(folder: Path, content: dict[str, Any], allow: Allow) -> None:
    named = content.get("auto_map")
    if not named:
        return
    if not isinstance(named, dict) or not all(isinstance(reference, str) for reference in named.values()):
        raise MmedgeError(f"{folder / 'config.json'} holds an auto_map that names no classes", "get an undamaged checkpoint")
    if foreign := [reference for reference in named.values() if "--" in reference]:
        raise MmedgeError(
            f"{folder} wants to run code of another repository: {foreign[0].partition('--')[0]}",
            f"put its file {foreign[0].partition('--')[2].rpartition('.')[0]}.py into the folder, and take the name before -- out of config.json",
        )
    if not allow.code:
        raise MmedgeError(f"{folder} wants to run its own code: {few(named.values())}", "read that code; to run it, add --trust-code")


def _dynamic(folder: Path, reference: str) -> Any:
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    try:
        return get_class_from_dynamic_module(reference, str(folder), local_files_only=True)
    except Exception as error:  # whatever the folder's code does
        raise MmedgeError(f"the code {reference} of {folder} does not load: {first_line(error)}", "get the code that belongs to the checkpoint") from error


def _first_architecture(content: dict[str, Any]) -> str | None:
    named = content.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else None
