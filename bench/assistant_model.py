"""The shipped assistant's bundle for a comparison: built and compiled once, and again when the recipe, a target or the code that makes it changes."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import environment

from mmedge.build.export import export
from mmedge.recipe import Recipe
from mmedge.target import Target

MAKES_IT = ("families", "nets", "generate", "build", "backends", "optimize", "deploy", "processors")


def bundle(targets: Sequence[Target]) -> Path:
    """Where it is."""
    recipe = Recipe.load("assistant-mini")
    package = Path(sys.modules["mmedge"].__file__ or "").parent
    code = b"".join(path.read_bytes() for part in MAKES_IT for path in sorted((package / part).rglob("*.py")))
    content = code + "".join(document.model_dump_json() for document in (recipe, *targets)).encode()
    path = environment.folder() / "bundles" / f"assistant-mini-{hashlib.sha256(content).hexdigest()[:12]}.bundle"
    if not (path / "manifest.json").is_file():
        export(recipe, path, targets, report=lambda line: print(line, file=sys.stderr))
    return path
