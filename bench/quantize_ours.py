"""mmedge's own: what ``mmedge quantize`` chooses, and what each of its makers makes.

``quantize_ours.py WAY BUNDLE ROLE KEY FEEDS OUT`` makes one graph as a peer does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quantize_models import folder, loaded, stamps_folder

from mmedge import optimize
from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.optimize.made import maker
from mmedge.quantization import Quantize, name_of
from mmedge.rated import Rated
from mmedge.target import Target
from mmedge.tensors import Feeds

NAME = "mmedge"


def ways(target: Target) -> dict[str, tuple[str, Quantize]]:
    """What a target asks of the makers: the way's name -> (backend, options)."""
    return {f"{NAME} {backend} {name_of(options)}": (backend, options) for backend, tables in target.quantize.items() for options in tables}


def chosen(model: Any, anew: bool) -> tuple[Path, dict[str, Rated], str]:
    """What ``mmedge quantize`` chooses for a copy of a model's bundle.

    Args:
        anew: measure again what was measured before, now that the machine is quiet: ``mmedge compile --rechoose``.

    Returns:
        The copy, the choice for each graph, and the command.
    """
    path = folder() / f"{model.bundle.stem}-{model.role}.bundle"
    program = [sys.executable, "-m", "mmedge"]
    target = ["--target", model.target.name]
    if not (path / "manifest.json").is_file():
        shutil.copytree(model.bundle, path)
    if model.target.name not in Bundle.open(path).manifest.engines:
        subprocess.run([*program, "compile", str(path), *target], check=True, stdout=sys.stderr)
    given = ["--data", str(stamps_folder()), "--role", model.role, "--samples", str(model.samples), "--metric", model.metric or "cosine"]
    command = [*program, "quantize", str(path), *target, *given, *(["--limit", str(model.limit)] if model.limit else [])]
    if model.role not in Bundle.open(path).manifest.quantized.get(model.target.name, {}):
        subprocess.run(command, check=True, stdout=sys.stderr)
    if anew:
        subprocess.run([*program, "compile", str(path), *target, "--rechoose"], check=True, stdout=sys.stderr)
    graphs = Bundle.open(path).manifest.quantized[model.target.name][model.role].graphs
    shown = " ".join(["mmedge", *command[3:]]).replace(str(path), "BUNDLE").replace(str(stamps_folder()), "STAMPS")
    return path, {key: graphs[key].of(graphs[key].chosen) for key in model.graphs}, shown


def code() -> str:
    """Of the makers, in one text."""
    folder = Path(optimize.__path__[0])
    kept = ("ort_", "openvino_", "made", "proto", "integer", "lookups", "ranges")
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")) if path.name.startswith(kept))


def main(way: str, bundle: str, role: str, key: str, feeds: str, out: str) -> int:
    answer, sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8"), sys.stderr
    os.dup2(2, 1)
    backend, options = ways(Target.load("intel-cpu"))[way]

    def stored() -> Iterator[Feeds]:
        return map(loaded, sorted(Path(feeds).glob("*.npz")))

    try:
        made = maker(backend, options).make(Bundle.open(bundle).graph(role, key), stored, Path(out), options)
    except MmedgeError as error:
        print(f"MmedgeError: {error.what}")
        return 1
    answer.write(json.dumps({"file": made.file.name, "seconds": made.seconds, "note": ""}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
