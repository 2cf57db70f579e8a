"""Where the shipped recipes and targets are found: the checkout's top-level folders, or the wheel's copy of them."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

from mmedge.errors import MmedgeError

Kind = Literal["recipes", "targets"]


def folder(kind: Kind) -> Path:
    """The folder of the shipped files: next to the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parent
    checkout = package.parent / kind
    return checkout if (package.parent / "pyproject.toml").is_file() and checkout.is_dir() else package / kind


def names(kind: Kind) -> list[str]:
    """The names that ``find`` knows, sorted."""
    return sorted(path.stem for path in folder(kind).glob("*.toml"))


def find(kind: Kind, what: str) -> Path:
    """The TOML file that ``what`` means: a shipped name, or the path of a file.

    Raises:
        MmedgeError: there is none; the nearest names are given.
    """
    shipped = folder(kind) / f"{what}.toml"
    if what in names(kind):
        return shipped
    path = Path(what).expanduser()
    if path.is_file():
        return path.absolute()
    noun = kind.removesuffix("s")
    if path.suffix == ".toml" or len(path.parts) > 1:
        raise MmedgeError(f"there is no {noun} file {what}", f"check the path, or use one of: {', '.join(names(kind))}")
    near = difflib.get_close_matches(what, names(kind), n=1)
    known = f"use one of: {', '.join(names(kind))}, or the path of a .toml file"
    raise MmedgeError(f"there is no {noun} {what!r}", f"did you mean {near[0]}? Else {known}" if near else known)
