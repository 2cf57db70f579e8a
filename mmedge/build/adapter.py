"""A folder written by peft: the adapter is merged into the model it was trained on, and the two are held equal."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmedge import cache, hub
from mmedge.documents import read_plain
from mmedge.errors import GateFailed, MmedgeError, first_line
from mmedge.evaluate.drift import drift
from mmedge.family import Allow
from mmedge.need import need

CONFIG, WEIGHTS, RECORD = "adapter_config.json", "adapter_model.safetensors", "merged.json"

EMBEDDINGS = ("embed_tokens.weight", "lm_head.weight", "word_embeddings.weight")
"""An adapter that was trained with a longer vocabulary brings these as they are."""

Trace = Callable[[str], None]


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def base(folder: Path, *, offline: bool, trace: Trace) -> Path:
    """The checkpoint that the adapter was trained on: a folder (a relative path starts at the adapter), or a repository of the hub.

    Raises:
        MmedgeError: the adapter does not say, or it cannot be had.
    """
    config = read_plain(folder / CONFIG)
    name = config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise MmedgeError(f"{folder / CONFIG} does not say which model it was trained on", "write base_model_name_or_path into it: a folder, or owner/name")
    for local in (folder / Path(name).expanduser(), Path(name).expanduser()):
        if local.is_dir():
            return local
    if re.fullmatch(r"hf:.*", name):
        return hub.fetch(name, sha256=None, offline=offline, trace=trace)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        return hub.fetch(f"hf:{name}@{config.get('revision') or 'main'}", sha256=None, offline=offline, trace=trace)
    raise MmedgeError(f"the model that {folder} was trained on is not there: {name}", f"correct base_model_name_or_path in {folder / CONFIG}")


def merged(folder: Path, *, offline: bool, trace: Trace, allow: Allow) -> Path:
    """A whole checkpoint in the cache: the base with the adapter in its weights, the tokenizer and processor of the adapter where it has them.

    Raises:
        MmedgeError: the base is not there, weights of the adapter are missing, extra, damaged or not finite, or its kind cannot be merged.
        GateFailed: merged and unmerged model differ by more than the fp32 bound.
    """
    under = base(folder, offline=offline, trace=trace)
    model = _load(folder, under, allow)
    torch = need("torch", extra="build")
    from mmedge.nets.examples import by_rule

    inputs = by_rule(model.base_model.model, batch=2, tokens=7)
    with torch.no_grad():
        before = _outputs(model(**inputs))
        try:
            whole = model.merge_and_unload(safe_merge=True)
        except Exception as error:  # AttributeError of kinds that add inputs, ValueError and more of peft
            raise MmedgeError(f"the adapter {folder} cannot be merged: {error}", "use an adapter that changes weights, such as LoRA") from error
        parity = drift(_outputs(whole(**inputs)), before, "fp32")[0]
    if not parity <= 1.0:
        raise GateFailed(f"{folder} merged differs from unmerged by {parity:.3g} times the bound", "report it with the adapter")
    trace(f"{folder.name} is merged into {under.name}; difference to the unmerged model: {parity:.3g} of the bound")
    with cache.locked(f"merge {folder}", trace) as scratch:
        for source in (under, folder):
            for path in source.iterdir():
                if path.is_file() and path.suffix in (".json", ".txt", ".model", ".jinja") and path.name not in (CONFIG, "model.safetensors.index.json"):
                    shutil.copyfile(path, scratch / path.name)
        with cache.writing():
            whole.save_pretrained(scratch)
            (scratch / RECORD).write_text(json.dumps({"adapter": folder.name, "base": under.name, "parity": round(parity, 4)}))
        index = cache.index_of(scratch)
        for name, sha256 in index.items():
            cache.keep(scratch / name, sha256)
    return cache.tree(index, trace)


def record(folder: Path) -> dict[str, Any]:
    """Of a folder that ``merged`` made: adapter, base, and parity as a fraction of the bound. Empty for every other."""
    path = folder / RECORD
    return dict(json.loads(path.read_text())) if path.is_file() and folder.is_relative_to(cache.root()) else {}


def _load(folder: Path, under: Path, allow: Allow) -> Any:
    peft = need("peft", extra="build")
    from mmedge.nets import checkpoint
    from mmedge.nets import weight_files as files

    if not (folder / WEIGHTS).is_file():
        raise files.no_weights(folder, WEIGHTS)
    held = set(files.names_in(folder / WEIGHTS))
    config = read_plain(under / "config.json")
    named = config.get("architectures") or [None]
    if not isinstance(named[0], str):
        raise MmedgeError(f"{under / 'config.json'} names no architecture", "get the config.json that was saved with the model")
    model = checkpoint.load(named[0], under, allow if allow.weights else Allow(code=allow.code, weights=_new_head(folder)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = peft.PeftModel.from_pretrained(model, str(folder), local_files_only=True).eval()
        # Without being told, peft asks the hub whether the base's vocabulary is the one that it had.
        wanted = set(peft.get_peft_model_state_dict(model, save_embedding_layers=any(key.endswith(EMBEDDINGS) for key in held)))
    except Exception as error:  # peft raises TypeError, KeyError, ValueError and RuntimeError for what its config may say
        raise MmedgeError(f"{folder} is no adapter of {named[0]}: {first_line(error)}", "use the model that it was trained on") from error
    for how, what, keys in (("lacks weights", "made up", wanted - held), ("holds weights that it has no place for", "left out", held - wanted)):
        if keys and not allow.weights:
            raise MmedgeError(f"the adapter {folder} {how}: {files.few(keys)}", "get a complete adapter, or accept it as it is with --any-weights")
        if keys:
            allow.accept(f"adapter {folder.name}", what, sorted(keys))
    files.refuse_bad_numbers(str(folder), model.state_dict().items())
    return model


def _new_head(folder: Path) -> bool:
    """Whether the adapter brings whole modules, such as a classifier that the base lacks."""
    return bool(read_plain(folder / CONFIG).get("modules_to_save"))


def _outputs(found: Any) -> dict[str, Any]:
    """The tensors that a model gave, by name; a cache is left out."""
    torch = need("torch", extra="build")
    return {name: value.float().numpy() for name, value in found.items() if torch.is_tensor(value)}
