"""WebDataset's tar files: neighbouring files of one name, up to its first dot, are one sample. Nothing is unpacked to the disk, and nothing unpickled.

Convention: https://github.com/webdataset/webdataset, "The WebDataset Format". ``0001.jpg`` with ``0001.txt``, ``0001.json`` and ``0001.cls`` give the columns
image, text, what the JSON holds, and label; ``0001.spoken.wav`` gives the column ``spoken``.
"""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mmedge.errors import MmedgeError
from mmedge.evaluate.columns import split_of
from mmedge.evaluate.data_rows import parse_json
from mmedge.evaluate.samples import MEDIA, SOUNDS, Medium
from mmedge.evaluate.source import Found, inside, legible

TARS = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
PICKLES = {"pyd", "pickle", "pkl", "pth", "pt", "npy", "npz", "joblib"}
"""Endings of files that may run code when they are read; numpy's may hold pickled objects."""
TEXTS = {"txt": "text", "cls": "label", "transcript": "transcript"}
MOST_MB = 512
"""Larger files are no picture and no sound; a few kilobytes may unfold into gigabytes."""
BROKEN = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)


class Tars:
    """Samples of tar files, one file after the other; no more than one sample is in memory."""

    def __init__(self, root: Path, paths: list[Path]) -> None:
        self.root, self._paths = root, paths

    def read(self, contents: Container[int]) -> Iterator[Found]:
        number = 0
        for path in self._paths:
            name = path.relative_to(self.root).as_posix()
            split = split_of(name.partition("/")[0]) or split_of(re.split(r"[-_.0-9]", path.name)[0])
            open_key, fields = "", dict[str, Any]()
            for key, ending, member, archive in self._members(path):
                if key != open_key:
                    if open_key:
                        yield Found(self._key(name, open_key), f"{path}: {open_key}", fields, split)
                        number += 1
                    open_key, fields = key, {}
                for column, value in _columns(path, key, ending, member, archive, number in contents):
                    if column in fields:
                        raise MmedgeError(f"{path}: the sample {key} has two files for the column {column}", "name one of them differently")
                    fields[column] = value
            if open_key:
                yield Found(self._key(name, open_key), f"{path}: {open_key}", fields, split)
                number += 1

    def _key(self, tar: str, key: str) -> str:
        return key if len(self._paths) == 1 else f"{tar}:{key}"

    def _members(self, path: Path) -> Iterator[tuple[str, str, tarfile.TarInfo, tarfile.TarFile]]:
        try:
            with tarfile.open(path) as archive:
                while member := archive.next():
                    archive.members = []  # type: ignore[attr-defined]  # tarfile keeps them all, otherwise
                    if member.isdir():
                        continue
                    key, ending = _named(path, member)
                    if ending:
                        yield key, ending, member, archive
                rest = archive.fileobj
                assert rest is not None
                rest.seek(archive.offset)
                if rest.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes a damaged header for the end
                    raise tarfile.ReadError(f"no file begins at byte {archive.offset}")
        except BROKEN as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise MmedgeError(f"{path} is a damaged tar file: {said or type(error).__name__}", "make it or copy it again") from error


def _named(path: Path, member: tarfile.TarInfo) -> tuple[str, str]:
    """(key, ending in small letters, empty for a file without one) of a file. Raises MmedgeError: a link, a name that leads outside, a pickle."""
    name = PurePosixPath(member.name)
    if not member.isfile():
        raise MmedgeError(f"{path} holds the link or device {member.name}", "make it again of plain files: tar --dereference")
    if name.is_absolute() or ".." in name.parts:
        raise MmedgeError(f"{path} holds the name {member.name!r}, which leads outside", "do not use this file; report it to whoever publishes it")
    stem, dot, ending = name.name.partition(".")
    ending = ending.lower()
    if ending.rpartition(".")[2] in PICKLES:
        raise MmedgeError(f"{path} holds {member.name}: such files may run code, and are not read", "store its content as .json, .txt or .cls")
    if member.size > MOST_MB * 2**20:
        raise MmedgeError(f"{path} holds {member.name} of {member.size / 2**20:.0f} MB, more than {MOST_MB}", "leave it out")
    return str(name.with_name(stem)), ending if stem and dot else ""


def _columns(path: Path, key: str, ending: str, member: tarfile.TarInfo, archive: tarfile.TarFile, wanted: bool) -> Iterator[tuple[str, Any]]:
    """(column, value) of one file of a sample; those of other kinds give none."""
    column, _, kind = ending.rpartition(".")
    if f".{kind}" in MEDIA:
        content = _bytes(archive, member) if wanted else b""
        yield column or ("audio" if f".{kind}" in SOUNDS else "image"), Medium(legible(member.name), content, member.size)
    elif kind in TEXTS or kind == "json":
        try:
            text = _bytes(archive, member).decode("utf-8-sig")
            made = parse_json(text) if kind == "json" else text.strip()
        except (ValueError, RecursionError) as error:
            raise MmedgeError(f"{path}: {member.name} cannot be read: {error}", "correct that file, and make the tar again") from error
        if kind == "json" and not column and isinstance(made, dict):
            yield from made.items()
        else:
            yield column or TEXTS.get(kind, "json"), made


def _bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    content = file.read() if file else b""
    if len(content) != member.size:
        raise tarfile.ReadError(f"{member.name} is cut off")
    return content


def tars_of(path: Path) -> list[Path]:
    """The tar files of a folder, or of the folders of its splits, by name."""
    folders = (path, *(one for one in path.iterdir() if one.is_dir() and split_of(one.name)))
    return sorted(inside(path, one) for folder in folders for one in folder.iterdir() if one.name.lower().endswith(TARS) and one.is_file())
