"""Folders of pictures and sounds: a table beside them, or one folder for each class, as Hugging Face's imagefolder and audiofolder have them."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from pathlib import Path

from mmedge.errors import MmedgeError
from mmedge.evaluate.columns import FILE, file_column, split_of
from mmedge.evaluate.data_rows import TABLES, read_rows
from mmedge.evaluate.samples import MEDIA, SOUNDS
from mmedge.evaluate.source import Found, inside, medium


class Tables:
    """Rows of CSV or JSON lines. Names of files in them are relative to their folder; a row is of the split that its file's folder is called.

    Args:
        root: the data set's folder.
        paths: one table, or one for each split.
    """

    def __init__(self, root: Path, paths: list[Path]) -> None:
        self.root, self._paths = root, paths

    def read(self, contents: Container[int]) -> Iterator[Found]:
        for path in self._paths:
            table = path.relative_to(self.root).as_posix()
            for line, row in read_rows(path):
                where = f"{path}, line {line}"
                fields, named = dict(row), ""
                for column, value in row.items():
                    if not column.endswith(FILE) or not isinstance(value, str) or not (into := file_column(column, value)):
                        continue
                    del fields[column]
                    fields[into] = medium(self.root, path.parent, value, where)
                    named = named or fields[into].name
                yield Found(f"{named or table}#{line}", where, fields, _split(named or table), path.parent)


class Classes:
    """Pictures and sounds without a table: the folder that one lies in is its label."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, contents: Container[int]) -> Iterator[Found]:
        for where, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            folder = Path(where)
            if linked := next((name for name in folders if (folder / name).is_symlink()), None):
                raise MmedgeError(f"{folder / linked} is a link to a folder, which is not followed", "copy that folder there: cp -rL")
            if not folders and not names and folder != self.root:
                raise MmedgeError(f"the class {folder.name!r} never appears: {folder} is empty", "put samples into that folder, or remove it")
            for name in sorted(names):
                suffix = Path(name).suffix.lower()
                if suffix not in MEDIA or name.startswith("."):
                    continue
                found = medium(self.root, folder, name, str(folder / name))
                split = _split(found.name)
                inner = folder.relative_to(self.root).parts[1 if split else 0 :]
                label = {"label": inner[-1]} if inner else {}
                yield Found(found.name, str(folder / name), {"audio" if suffix in SOUNDS else "image": found, **label}, split, folder)


def tables_of(root: Path) -> list[Path]:
    """The tables of a folder: ``metadata.csv`` or ``metadata.jsonl``, in it or in the folders of its splits.

    Raises:
        MmedgeError: two in one folder, or one in a form that is not read.
    """
    found = []
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir() and split_of(path.name))):
        here = [folder / f"metadata{suffix}" for suffix in TABLES if (folder / f"metadata{suffix}").is_file()]
        if len(here) > 1:
            raise MmedgeError(f"{folder} has a {here[0].name} and a {here[1].name}", "keep the one that counts")
        if not here and (folder / "metadata.parquet").is_file():
            raise MmedgeError(f"{folder / 'metadata.parquet'} is not read", "write it as metadata.csv or metadata.jsonl")
        found += [inside(root, path) for path in here]
    return found


def _split(name: str) -> str | None:
    first, slash, _ = name.partition("/")
    return split_of(first) if slash else None
