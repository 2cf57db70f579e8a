"""The eyes under test: the shipped recipe's, alone, built once."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import environment

from mmedge.build.export import export
from mmedge.bundle import Bundle
from mmedge.deploy.compile import compile
from mmedge.recipe import Recipe
from mmedge.target import Target


def bundle(target: Target) -> Path:
    """A bundle of the eyes for ``target``, made anew when the family's code or the recipe changes."""
    recipe = Recipe.load("assistant-mini")
    recipe = recipe.model_copy(update={"name": "eyes", "models": {"eyes": recipe.models["eyes"]}, "media": {}, "demo": ()})
    package = Path(sys.modules["mmedge"].__file__ or "").parent
    files = sorted((package / "families" / "dual_encoder").iterdir()) + sorted((package / "processors").glob("*.py"))
    content = b"".join(path.read_bytes() for path in files if path.is_file()) + recipe.model_dump_json().encode()
    path = environment.folder() / "bundles" / f"eyes-{hashlib.sha256(content).hexdigest()[:12]}.bundle"
    if not (path / "manifest.json").is_file():
        export(recipe, path, [target], report=_tell)
    if target.name not in Bundle.open(path).manifest.engines:
        compile(path, target, _tell)
    return path


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
