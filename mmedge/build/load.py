"""From what the user named to a recipe, and from a recipe's model to one local folder with its checkpoint."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmedge import cache, catalog, hub, manifest
from mmedge.build import adapter
from mmedge.documents import read_plain
from mmedge.errors import MmedgeError
from mmedge.family import Allow, family_names, load_family
from mmedge.need import have, need
from mmedge.recipe import Model, Recipe

Trace = Callable[[str], None]

AUTO, ONNX, MODULE = "auto", "onnx", "module"
"""The families that take what no other family knows: an architecture of transformers, a file, the user's own code."""

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
"""Never read: in a folder of training they are an optimizer's state."""

NEVER = {
    ".gguf": ("is of llama.cpp", "take the checkpoint that it was made of"),
    ".safetensors": ("is one file of a checkpoint", "name the folder that holds it with its config.json"),
    ".xml": ("is of OpenVINO", "take the ONNX file or the checkpoint that it was made of"),
    ".tflite": ("is of LiteRT", "take the ONNX file or the checkpoint that it was made of"),
    **dict.fromkeys(PICKLES, ("is a pickle", "name the folder of its checkpoint: mmedge then says how to convert it")),
}


def recipe_for(what: str | None, *, offline: bool, trace: Trace) -> Recipe:
    """The recipe that ``what`` means: a recipe's name or file, a checkpoint's folder, an ONNX file, or ``hf:`` / ``pip:`` / ``file:``.

    Raises:
        MmedgeError: nothing is there, or no family takes what is there.
    """
    if what is None:
        return Recipe.load("assistant-mini")
    if re.match(r"^(hf|pip|file):", what):
        return _single(hub.fetch(what, sha256=None, offline=offline, trace=trace), what, offline, trace)
    path = Path(what).expanduser()
    if what and (path.is_dir() or (path.is_file() and path.suffix in (".onnx", *NEVER))):
        return _single(path.absolute(), f"file:{path.absolute().name}", offline, trace)
    if what.endswith(".toml") or what in catalog.names("recipes"):
        return _with_families(Recipe.load(what), offline, trace)
    if path.is_file():
        raise MmedgeError(f"{what} is a file, but no recipe", "name a recipe (.toml), an ONNX file, or the folder of a checkpoint")
    if path.suffix in (".onnx", *NEVER) or what.startswith(("./", "../", "/", "~")):
        raise MmedgeError(f"there is no file or folder {what}", "check the path: a recipe (.toml), an ONNX file, or the folder of a checkpoint")
    if named := re.fullmatch(r"(https://huggingface\.co/)?(\w[\w.-]*/[\w.-]+)(@[\w.-]+)?/?", what):
        hub_form = f"hf:{named[2]}{named[3] or '@main'}"
        raise MmedgeError(f"{what} is neither a folder here nor a recipe", f"if it is a model on the Hugging Face hub: mmedge export {hub_form}")
    return _with_families(Recipe.load(what), offline, trace)


def checkpoint(model: Model, *, offline: bool, trace: Trace, allow: Allow = Allow()) -> Path:
    """One folder that holds the model's files by the names its family looks for; or the one file that the recipe names.

    An adapter is merged into the model it was trained on.
    """
    path = model.file or model.folder
    if path is None and model.files:
        return hub.gather({name: (file.sources, file.sha256) for name, file in model.files.items()}, offline=offline, trace=trace)
    if path is None:
        if getattr(load_family(model.family), "NEEDS_FILES", True):
            raise MmedgeError(f"the recipe names neither files nor a folder for its {model.family} model", 'add to it: folder = "path/to/checkpoint"')
        return Path()
    found = Path(path)
    kind = "file" if model.file else "folder"
    if not (found.is_file() if model.file else found.is_dir()):
        raise MmedgeError(f"there is no {kind} {found}", f"correct the recipe's {kind}: its path starts at the recipe")
    return adapter.merged(found, offline=offline, trace=trace, allow=allow) if adapter.is_adapter(found) else found


def sources(model: Model, folder: Path) -> dict[str, str]:
    """What the manifest keeps of where a model came from: the sha256 of each of its files; for an adapter, what was merged as well."""
    if model.files:
        return {name: file.sha256 for name, file in model.files.items()}
    if model.module:
        return {"module": model.module}
    if folder.is_file():
        return {folder.name: cache.sha256_of(folder)}
    files = (
        sorted(path for where in (folder, folder / "onnx") for path in where.glob("*") if path.is_file() and path.suffix not in PICKLES) if model.folder else []
    )
    return {path.relative_to(folder).as_posix(): cache.sha256_of(path) for path in files}


def gates(role: str, folder: Path) -> list[manifest.Gate]:
    """What making the checkpoint has proven: that a merged adapter computes what it computed unmerged."""
    said = adapter.record(folder)
    note = f"difference of {said['adapter']} in {said['base']} to the unmerged model, as a fraction of 1e-4 x max(1, max|ref|)" if said else ""
    return [manifest.Gate(name=f"merge {role}", passed=True, value=said["parity"], bound=1.0, note=note)] if said else []


def _single(path: Path, source: str, offline: bool, trace: Trace) -> Recipe:
    model = Model(file=str(path)) if path.is_file() else Model(folder=str(path))
    family = _family_of(model, offline, trace)
    bare = re.sub(r"(@[^#]*)?#?$", "", source.partition("#")[0]).rstrip("/").rpartition("/")[2].rpartition(":")[2].removesuffix(".onnx")
    stem = re.sub(r"[^a-z0-9._-]+", "-", bare.lower()).strip("-.") or family
    shown = re.sub(r"^file:.*/", "file:", source.rstrip("/"))
    return Recipe(name=stem, summary=f"made from {shown}", models={family: model.model_copy(update={"family": family})})


def _with_families(recipe: Recipe, offline: bool, trace: Trace) -> Recipe:
    """Where a model names no family, the one that its folder, file or module calls for."""
    models = {
        role: model if model.family else model.model_copy(update={"family": MODULE if model.module else _family_of(model, offline, trace)})
        for role, model in recipe.models.items()
    }
    return recipe.model_copy(update={"models": models})


def _family_of(model: Model, offline: bool, trace: Trace) -> str:
    """By the form of the folder, or by the architecture that ``config.json`` names."""
    if not (model.folder or model.file):
        raise MmedgeError("the recipe names no family for a model that has neither a folder nor a file", f"use one of: {', '.join(family_names())}")
    path = Path(model.file or model.folder or "")
    if path.is_file():
        return _family_of_file(path)
    if not path.is_dir():
        raise MmedgeError(f"there is no folder {path}", "correct the recipe's folder: its path starts at the recipe")
    if (path / "manifest.json").is_file() and not (path / "config.json").exists():
        raise MmedgeError(f"{path} is a bundle already", f"for another target: mmedge compile {path} --target TARGET")
    folder = adapter.base(path, offline=offline, trace=trace) if adapter.is_adapter(path) else path
    config: dict[str, Any] = read_plain(folder / "config.json", required=False)
    named = config.get("architectures")
    if named is not None and not (isinstance(named, list) and all(isinstance(name, str) for name in named)):
        fix = f'write it as a list: "architectures": ["{named}"]' if isinstance(named, str) else "get an undamaged checkpoint"
        raise MmedgeError(f"{folder / 'config.json'} says architectures {str(named)[:80]!r}: that is no list of names", fix)
    architectures = _architectures(config)
    taken: dict[str, str] = {}
    for name in family_names():
        family = load_family(name)
        if hasattr(family, "takes") and family.takes(folder):
            return name
        taken.update(dict.fromkeys(family.ARCHITECTURES, name))
    known = [architecture for architecture in architectures if architecture in taken]
    if known and not named:
        fix = f'write into it what was saved: "architectures": ["{known[0]}"]'
        raise MmedgeError(f"{folder / 'config.json'} names no architecture, and {config['model_type']} may be {' or '.join(known)}", fix)
    if known:
        return taken[known[0]]
    if config and (_is_of_transformers(architectures, config) or config.get("auto_map")):
        return AUTO
    raise _unknown(folder, architectures, taken)


def _family_of_file(path: Path) -> str:
    if path.suffix == ".onnx":
        return ONNX
    said, fix = NEVER.get(path.suffix, ("is a file", "name the folder that holds the checkpoint, an ONNX file, or a recipe"))
    raise MmedgeError(f"{path} {said}", fix)


def _architectures(config: dict[str, Any]) -> tuple[str, ...]:
    """What config.json names; without it, the classes that its model_type may mean."""
    if named := config.get("architectures"):
        return tuple(named)
    kind = config.get("model_type")
    if not isinstance(kind, str) or not have("transformers"):
        return ()
    mappings = need("transformers.models.auto.modeling_auto", extra="build")
    tables = [getattr(mappings, name) for name in dir(mappings) if re.fullmatch(r"MODEL_(FOR_\w+_)?MAPPING_NAMES", name)]
    found = [table[kind] for table in tables if kind in table]
    return tuple(dict.fromkeys(name for entry in found for name in ([entry] if isinstance(entry, str) else entry)))


def _is_of_transformers(architectures: tuple[str, ...], config: dict[str, Any]) -> bool:
    transformers = need("transformers", extra="build")
    return any(hasattr(transformers, name) for name in architectures) or (not architectures and config.get("model_type") in transformers.CONFIG_MAPPING)


def _unknown(folder: Path, architectures: tuple[str, ...], taken: dict[str, str]) -> MmedgeError:
    supported = f"supported: {', '.join(sorted(taken))}, and most others of transformers"
    if not architectures:
        why = "its config.json names no architecture" if (folder / "config.json").is_file() else "it holds no config.json"
        return MmedgeError(f"{folder} is no checkpoint that mmedge knows: {why}", supported)
    transformers = need("transformers", extra="build")
    names = {name for name in dir(transformers) if re.search(r"(Model|For\w+)$", name)} | set(taken)
    near = difflib.get_close_matches(architectures[0], sorted(names), n=1)
    said = f"neither a model family nor transformers {transformers.__version__} has {architectures[0]}"
    return MmedgeError(said, f"nearest: {near[0]}; {supported}" if near else supported)
