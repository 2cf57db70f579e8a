"""Feeds of a graph as a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmedge.tensors import Array, Feeds

IN = "in/"
"""Before an input's name: numpy's writer has parameters with names of their own."""


def write(path: Path, feeds: Feeds) -> None:
    np.savez(path, **{f"{IN}{name}": array for name, array in feeds.items()})  # type: ignore[arg-type]


def read(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as stored:
        return {name.removeprefix(IN): array for name, array in stored.items()}
