"""The one cache: what was fetched, by the hash of its content.

::

    CACHE/blobs/SHA256          one file's content, read-only; a hash is checked each time it is used
    CACHE/trees/TREE_SHA256/    a folder of hard links to blobs: a fetched folder, or a model's files gathered
    CACHE/packages/NAME==VERSION.json   what a package held: {relative path: sha256}
    CACHE/engines/ CACHE/steps/ what was built or computed, bounded (``mmedge.backends.tensorrt.store``, ``mmedge.optimize.steps``)
    CACHE/locks/ CACHE/tmp/     one writer per key; whatever a killed writer left is removed by the next one

Everything is written aside, synced and renamed, so a reader never meets half a file, and nothing has to be undone.

The **tree hash** of a folder is the sha256 over the lines ``SHA256  relative/path\\n`` (two spaces, as ``sha256sum`` prints
them; paths with forward slashes) of all its files, sorted by path as UTF-8 bytes::

    find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from mmedge.errors import MmedgeError

try:
    import fcntl
except ImportError:  # Windows: no lock; renames still keep readers safe
    fcntl = None  # type: ignore[assignment]

Trace = Callable[[str], None]
"""Takes one line of progress."""
Index = Mapping[str, str]
"""A folder's files: relative path with forward slashes -> sha256."""


class NoSpace(MmedgeError):
    """The disk is full: no other source of the same file would help."""


def root() -> Path:
    """``MMEDGE_CACHE``, else ``mmedge`` in the platform's folder for caches."""
    if own := os.environ.get("MMEDGE_CACHE"):
        return Path(own).expanduser().absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "mmedge"


class WrongContent(MmedgeError):
    """A checksum does not agree."""


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turn what a disk says while the cache is written into an error with a fix."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space() from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT):
            raise MmedgeError(f"the cache {root()} cannot be written: {error.strerror}", "set MMEDGE_CACHE to a folder of yours") from error
        raise


def no_space() -> NoSpace:
    """The error of a full disk; what was complete before is kept."""
    return NoSpace(f"no space left on the disk of the cache {root()}", "free some there, or set MMEDGE_CACHE to a folder on another disk; then run it again")


@contextlib.contextmanager
def locked(key: str, trace: Trace | None = None) -> Iterator[Path]:
    """Hold the lock of ``key`` against threads and processes; yields an empty scratch folder on the cache's own disk."""
    scratch = root() / "tmp" / _safe(key)
    with _lock(_safe(key)) as handle:
        if not _taken(handle):
            if trace:
                trace(f"waiting for another process that fetches {key}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        shutil.rmtree(scratch, ignore_errors=True)
        with writing():
            scratch.mkdir(parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def locked_if_free(key: str) -> Iterator[bool]:
    """As ``locked``, without a folder and without waiting. Yields whether the lock is held now: another one may have it."""
    with _lock(_safe(key)) as handle:
        yield _taken(handle)


@contextlib.contextmanager
def in_use(key: str) -> Iterator[None]:
    """Share the lock of ``key`` with others that read what it stands for: ``shrink`` leaves that alone."""
    with _lock(_safe(key)) as handle:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield


def shrink(kept: Mapping[str, tuple[int, float]], limit_bytes: int, remove: Callable[[str], None]) -> None:
    """Remove what was not asked for the longest until the rest keeps to a limit; nothing whose lock is held.

    Args:
        kept: the key of its lock -> (bytes, when it was last asked for in seconds).
    """
    over = sum(size for size, _ in kept.values()) - limit_bytes
    for key in sorted(kept, key=lambda one: kept[one][1]):
        if over <= 0:
            return
        with locked_if_free(key) as free:
            if free:
                remove(key)
                over -= kept[key][0]


def clear_scratch() -> None:
    """Remove what killed writers left behind, whatever they wrote."""
    for scratch in (root() / "tmp").glob("*"):
        with _lock(scratch.name) as handle:
            if _taken(handle):
                shutil.rmtree(scratch, ignore_errors=True)


def _lock(name: str) -> BinaryIO:
    path = root() / "locks" / name
    with writing():
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")


def _taken(handle: BinaryIO) -> bool:
    """Whether the lock could be had without waiting."""
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _safe(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """The hash of one file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def index_of(folder: Path) -> dict[str, str]:
    """Every file below ``folder``, hashed; links are followed."""
    files = (Path(where) / name for where, _, names in os.walk(folder, followlinks=True) for name in names)
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def tree_sha256(index: Index) -> str:
    """The tree hash, as this module's docstring defines it."""
    lines = (f"{index[path]}  {path}\n".encode() for path in sorted(index, key=str.encode))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def blob(sha256: str) -> Path | None:
    """The file with this hash, if the cache has it undamaged; a damaged one is thrown away."""
    path = root() / "blobs" / sha256
    if not path.is_file():
        return None
    if sha256_of(path) == sha256:
        return path
    with writing():
        path.unlink(missing_ok=True)
    return None


def holds(index: Index) -> bool:
    """Whether the cache has every file of ``index`` undamaged."""
    return all(blob(sha256) for sha256 in set(index.values()))


def keep(path: Path, sha256: str) -> None:
    """Make a blob of ``path``, a file in a scratch folder whose content has this hash. What is there already stays."""
    kept = root() / "blobs" / sha256
    with writing():
        if path.stat().st_nlink == 1:  # the other name of a linked file is not ours to change
            path.chmod(0o444)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        kept.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, kept)


def tree(index: Index, trace: Trace | None = None) -> Path:
    """The folder that holds the blobs of ``index`` under their names; made when it is missing or damaged.

    Raises:
        FileNotFoundError: a blob is missing; adopt all of them first.
    """
    folder = root() / "trees" / tree_sha256(index)
    if folder.is_dir() and _is_tree(folder, index):
        return folder
    with locked(folder.name, trace) as scratch, writing():
        if folder.is_dir() and _is_tree(folder, index):
            return folder
        (scratch / "new").mkdir()
        for name, sha256 in index.items():
            entry = scratch / "new" / name
            entry.parent.mkdir(parents=True, exist_ok=True)
            link(root() / "blobs" / sha256, entry)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_dir():
            os.replace(folder, scratch / "old")
        os.replace(scratch / "new", folder)
    return folder


def _is_tree(folder: Path, index: Index) -> bool:
    """Whether every entry is the blob itself; where the disk has no hard links, whether it has its content."""
    for name, sha256 in index.items():
        entry, kept = folder / name, root() / "blobs" / sha256
        same = entry.is_file() and kept.exists() and entry.samefile(kept)
        if not same and not (entry.is_file() and sha256_of(entry) == sha256):
            return False
    return sum(len(names) for _, _, names in os.walk(folder)) == len(index)


def link(old: Path, new: Path) -> None:
    """A second name for a file that nobody writes to; a copy where the disk cannot do that."""
    try:
        os.link(old.resolve(), new)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
        shutil.copyfile(old, new)
        new.chmod(0o444)
