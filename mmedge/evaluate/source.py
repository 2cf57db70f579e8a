"""What every form of data set gives: its samples as they were found, in a fixed order, and files that stay inside its folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from mmedge.errors import MmedgeError
from mmedge.evaluate.samples import Medium


@dataclass(frozen=True)
class Found:
    """A sample before its columns have their standard names."""

    key: str
    where: str
    """For errors: which file, which line."""
    fields: Mapping[str, Any]
    split: str | None = None
    """That of its folder, or of its file's name."""
    folder: Path | None = None
    """What names of files are relative to."""


class Source(Protocol):
    """Reads the whole data set anew each time."""

    root: Path

    def read(self, contents: Container[int]) -> Iterator[Found]:
        """Every sample. ``contents``: numbers of the samples whose pictures and sounds are wanted, where reading them costs something."""
        ...


def legible(name: str) -> str:
    """A name of a file as it can be printed: bytes that are no UTF-8 are question marks."""
    return name.encode("utf-8", "replace").decode()


def medium(root: Path, folder: Path, name: str, where: str) -> Medium:
    """A file of the data set.

    Args:
        root: nothing outside is read.
        folder: what ``name`` is relative to.

    Raises:
        MmedgeError: it lies outside, or a link leads there. Not where it is missing: whoever decodes it learns that.
    """
    path = os.path.join(folder, name)  # not pathlib, which takes five times as long; a table may have a million rows
    try:
        outside = _outside(_real(os.path.abspath(root)), os.path.realpath(path))
        found = None if outside else os.stat(path)
    except FileNotFoundError:
        found = None
    except (OSError, ValueError) as error:  # a name with a NUL, a ring of links
        raise MmedgeError(f"{where}: {name!r} is no name of a file: {error}", "correct it") from error
    if outside:
        raise MmedgeError(f"{where}: {name} leads outside {root}", "name files below that folder; copy linked ones into it: cp -rL")
    size_bytes = found.st_size if found and stat.S_ISREG(found.st_mode) else None
    return Medium(legible(os.path.relpath(path, root)), Path(path), size_bytes)


@lru_cache(maxsize=8)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _outside(root: str, path: str) -> bool:
    return path != root and not path.startswith(root.rstrip(os.sep) + os.sep)


def inside(root: Path, path: Path) -> Path:
    """A file that was found in the data set's folder. Raises MmedgeError: it is a link that leads outside."""
    medium(root, path.parent, path.name, str(root))
    return path
