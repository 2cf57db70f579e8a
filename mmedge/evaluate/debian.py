"""Debian's packages as data: downloaded by apt, checked by their sha256, read without being installed or unpacked to the disk."""

from __future__ import annotations

import contextlib
import io
import lzma
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mmedge import cache
from mmedge.errors import MmedgeError, first_line

MAGIC = b"!<arch>\n"
HEADER_BYTES = 60


def download(packages: Sequence[str], folder: Path) -> None:
    """Let apt put the files of ``packages`` (``name`` or ``name=version``) into a folder; needs no root.

    Raises:
        MmedgeError: there is no apt here, or it does not get them.
    """
    if shutil.which("apt-get") is None:
        raise MmedgeError(f"there is no apt-get here to download {', '.join(packages)}", "download it on a Debian or an Ubuntu")
    done = subprocess.run(["apt-get", "download", "--quiet", *packages], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        said = first_line(RuntimeError(done.stderr)).removeprefix("E: ")
        raise MmedgeError(f"apt-get could not download {', '.join(packages)}: {said}", "apt-get update")


def package(name: str, version: str, sha256: str, trace: cache.Trace) -> Path:
    """The file of a package, from the cache or by apt.

    Raises:
        MmedgeError: apt does not get it, or it is another file.
    """
    if kept := cache.blob(sha256):
        return kept
    with cache.locked(f"deb:{name}={version}", trace) as scratch:
        trace(f"downloading Debian's {name} {version}")
        with cache.writing():
            download([f"{name}={version}"], scratch)
        (found,) = scratch.glob("*.deb")
        verify(found, sha256)
        cache.keep(found, sha256)
    return cache.root() / "blobs" / sha256


def verify(path: Path, sha256: str) -> None:
    """Raises MmedgeError: the file is missing, or is another one."""
    if not path.is_file():
        raise MmedgeError(f"there is no file {path}", "name the .deb file that you downloaded")
    if (got := cache.sha256_of(path)) != sha256:
        raise MmedgeError(f"{path.name} has sha256 {got}, and {sha256} is wanted", "get that version of the package")


@contextlib.contextmanager
def contents(deb: Path) -> Iterator[tarfile.TarFile]:
    """The data archive of a package (deb(5)): members are read in the order in which they come.

    Raises:
        MmedgeError: it is no package, or damaged.
    """
    try:
        with deb.open("rb") as file:
            part: Any = _data(file)
            with tarfile.open(fileobj=part, mode="r|*") as archive:
                yield archive
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        raise MmedgeError(f"{deb} is no Debian package that can be read: {error}", "download it again") from error


@dataclass
class _Part:
    """The next ``left`` bytes of a file."""

    file: BinaryIO
    left: int

    def read(self, size: int) -> bytes:
        piece = self.file.read(min(size, self.left))
        self.left -= len(piece)
        return piece


def _data(file: BinaryIO) -> _Part:
    """The member data.tar.* of an ar archive."""
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("it does not begin as one")
    while len(header := file.read(HEADER_BYTES)) == HEADER_BYTES:
        name, size = header[:16].strip().rstrip(b"/"), int(header[48:58])
        if name.startswith(b"data.tar"):
            return _Part(file, size)
        file.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError("it holds no data")
