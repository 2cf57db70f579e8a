"""Faults, planted as an unlucky build or somebody with a purpose would: every checksum in the manifest is that of the changed file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from tampering import edit, swap

from mmedge.bundle import MANIFEST


def manifest(bundle: Path) -> dict[str, Any]:
    """As it lies on the disk."""
    made: dict[str, Any] = json.loads((bundle / MANIFEST).read_text())
    return made


def role_of(bundle: Path) -> str:
    """Of a bundle with one model."""
    (role,) = manifest(bundle)["models"]
    return str(role)


def entry(bundle: Path, name: str) -> tuple[str, ...]:
    """Where the manifest keeps a graph."""
    return "models", role_of(bundle), "graphs", name


def load(bundle: Path, name: str) -> Any:
    """A graph with all its tensors."""
    return onnx.load(bundle / manifest(bundle)["models"][role_of(bundle)]["graphs"][name]["file"]["path"])


def graph(bundle: Path, name: str, change: Callable[[Any], Any]) -> Any:
    """Change a graph; returns what ``change(model)`` does."""
    model = load(bundle, name)
    said = change(model)
    swap(bundle, (*entry(bundle, name), "file"), model.SerializeToString())
    edit(bundle, (*entry(bundle, name), "weights"), None)
    return said


def asset(bundle: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change one of the model's assets."""
    where = "models", role_of(bundle), "assets", name
    path = bundle / manifest(bundle)["models"][role_of(bundle)]["assets"][name]["path"]
    swap(bundle, where, change(path.read_bytes()))


def config(bundle: Path, *where: str | int, value: Any) -> None:
    """Set one number, or the like, of what the session is configured by."""
    edit(bundle, ("models", role_of(bundle), "config", *where), value)


def variant(bundle: Path, name: str, model: Any, precision: str, placed_as: str = "", target: str = "cpu") -> None:
    """Put a graph beside another one as its variant, and place it there.

    Args:
        precision: of the variant.
        placed_as: what its placement says; empty: the same.
    """
    role, file = role_of(bundle), f"{role_of(bundle)}/{name}-planted.onnx"
    (bundle / file).write_bytes(b"")
    made = {"file": {"path": file, "sha256": "0" * 64, "size_bytes": 0}, "precision": precision, "backend": "ort", "method": "planted", "drift": 0.1}
    edit(bundle, (*entry(bundle, name), "variants"), [made])
    swap(bundle, (*entry(bundle, name), "variants", 0, "file"), model.SerializeToString())
    sha256 = manifest(bundle)["models"][role]["graphs"][name]["variants"][0]["file"]["sha256"]
    placed = manifest(bundle)["engines"][target][f"{role}/{name}"]
    edit(bundle, ("engines", target, f"{role}/{name}"), {**placed, "backend": "ort", "precision": placed_as or precision, "made_of": sha256})
