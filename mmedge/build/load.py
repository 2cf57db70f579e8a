"""From what the user named to a recipe, and from a recipe's model to one local folder with its checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmedge import catalog, hub
from mmedge.errors import MmedgeError
from mmedge.family import family_names, load_family
from mmedge.recipe import Model, Recipe

Trace = Callable[[str], None]


def recipe_for(what: str | None, *, offline: bool, trace: Trace) -> Recipe:
    """The recipe that ``what`` means: a recipe's name or file, a checkpoint's folder, or ``hf:`` / ``pip:`` / ``file:``.

    Raises:
        MmedgeError: nothing is there, or no family takes what is there.
    """
    if what is None:
        return Recipe.load("assistant-mini")
    if re.match(r"^(hf|pip|file):", what):
        return _single(hub.fetch(what, sha256=None, offline=offline, trace=trace), what)
    if what and Path(what).is_dir():
        return _single(Path(what).resolve(), f"file:{what}")
    if what.endswith(".toml") or what in catalog.names("recipes"):
        return Recipe.load(what)
    if Path(what).is_file():
        raise MmedgeError(f"{what} is a file, but no recipe", "name a recipe (.toml), or the folder of a checkpoint")
    if named := re.fullmatch(r"(https://huggingface\.co/)?(\w[\w.-]*/[\w.-]+)(@[\w.-]+)?/?", what):
        hub_form = f"hf:{named[2]}{named[3] or '@main'}"
        raise MmedgeError(f"{what} is neither a folder here nor a recipe", f"if it is a model on the Hugging Face hub: mmedge export {hub_form}")
    return Recipe.load(what)


def checkpoint(model: Model, *, offline: bool, trace: Trace) -> Path:
    """One folder that holds the model's files by the names its family looks for."""
    if model.folder is not None:
        folder = Path(model.folder)
        if not folder.is_dir():
            raise MmedgeError(f"there is no folder {folder}", "correct the recipe's folder")
        return folder
    return hub.gather({name: (file.sources, file.sha256) for name, file in model.files.items()}, offline=offline, trace=trace)


def _single(folder: Path, source: str) -> Recipe:
    family = _family_of(folder)
    stem = re.sub(r"[^a-z0-9._-]+", "-", re.sub(r"@.*$", "", source).rpartition("/")[2].rpartition(":")[2].lower()).strip("-.") or family
    return Recipe(name=stem, summary=f"made from {source}", models={family: Model(family=family, folder=str(folder))})


def _family_of(folder: Path) -> str:
    """By the architecture that ``config.json`` names, or by a family that knows the folder's form."""
    if folder.is_file():
        raise MmedgeError(f"{folder} is a file", "name the folder that holds the checkpoint, or a recipe")
    if (folder / "manifest.json").is_file() and not (folder / "config.json").exists():
        raise MmedgeError(f"{folder} is a bundle already", f"for another target: mmedge compile {folder} --target TARGET")
    config = _config(folder)
    named = config.get("architectures")
    architectures = tuple(str(name) for name in named) if isinstance(named, list) else ()
    taken: dict[str, str] = {}
    for name in family_names():
        family = load_family(name)
        if set(architectures) & set(family.ARCHITECTURES) or (hasattr(family, "takes") and family.takes(folder)):
            return name
        taken.update(dict.fromkeys(family.ARCHITECTURES, name))
    supported = ", ".join(f"{architecture} ({family})" for architecture, family in sorted(taken.items()))
    if not architectures:
        why = "its config.json names no architecture" if (folder / "config.json").is_file() else "it holds no config.json"
        raise MmedgeError(f"{folder} is no checkpoint that mmedge knows: {why}", f"supported: {supported}")
    raise MmedgeError(f"no model family takes {architectures[0]}", f"supported: {supported}")


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise MmedgeError(f"{path} cannot be read as JSON: {error}", "get an undamaged checkpoint") from error
    return content if isinstance(content, dict) else {}
