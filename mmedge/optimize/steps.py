"""Steps of a long work, each done once: a second run finds what the first one did, and one that was killed goes on where it was.

::

    CACHE/steps/KIND-KEY/content/    what the step made
    CACHE/steps/KIND-KEY/step.json   everything that it depends on, and the sha256 of every file

Written aside and renamed, so a step is there whole or not at all; what is damaged is made again. Together they take no more than ``LIMIT_BYTES``: those that
were not asked for the longest go first, and none that is in use.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import mmedge
from mmedge import cache
from mmedge.documents import Document, dump_json, read_json
from mmedge.errors import MmedgeError

LIMIT_BYTES = 8 << 30
"""Of all steps that are kept."""
INDEX = "step.json"
ASKED = "3"
"""Raised whenever a version of mmedge under development gives something else for a key: what was done before is then done again."""


class Done(Document):
    """What is known of a step."""

    kind: str
    key: dict[str, Any]
    files: dict[str, str]
    """Relative path -> sha256."""


@contextlib.contextmanager
def step(kind: str, key: Mapping[str, Any], work: Callable[[Path], None]) -> Iterator[Path]:
    """The folder that ``work`` fills: found where it was filled before, else filled now. It is not removed while the context is open.

    Args:
        kind: what is done, in a word: ``made``, ``judged``, ``timed``.
        key: everything that the result depends on, as JSON; see ``versions``.
        work: fills the empty folder that it is given. Another process that asks for the same waits for it.

    Raises:
        MmedgeError: the cache has no space or permission; or whatever ``work`` raises, and then nothing is kept.
    """
    name = f"{kind}-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]}"
    folder = cache.root() / "steps" / name
    with cache.in_use(f"step {name}"):
        if not _whole(folder, kind, key):
            with cache.locked(f"work on step {name}") as scratch:
                if not _whole(folder, kind, key):
                    _do(kind, key, work, scratch, folder)
            _purge()
        with contextlib.suppress(OSError):  # another user's file: it only goes earlier than it should
            os.utime(folder / INDEX)
        yield folder / "content"


def versions(*packages: str) -> dict[str, str]:
    """For a key: mmedge and the packages that have a part in a result; of one that is not installed, empty."""
    found = {"mmedge": f"{mmedge.__version__} {ASKED}"}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return {name: found.get(name, "") for name in ("mmedge", *packages)}


def _whole(folder: Path, kind: str, key: Mapping[str, Any]) -> bool:
    try:
        done = read_json(folder / INDEX, Done, fix="")
        return done.kind == kind and done.key == json.loads(json.dumps(key)) and cache.index_of(folder / "content") == done.files
    except (MmedgeError, OSError):
        return False


def _do(kind: str, key: Mapping[str, Any], work: Callable[[Path], None], scratch: Path, folder: Path) -> None:
    """Fill a folder aside and put it in its place."""
    new = scratch / "new"
    content = new / "content"
    content.mkdir(parents=True)
    try:
        work(content)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise cache.no_space() from error
        raise
    with cache.writing():
        (new / INDEX).write_text(dump_json(Done(kind=kind, key=dict(key), files=cache.index_of(content))), encoding="utf-8")
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            os.replace(folder, scratch / "damaged")
        os.replace(new, folder)


def _purge() -> None:
    """Remove steps until the rest keeps to ``LIMIT_BYTES``, and what killed ones left."""
    with contextlib.suppress(OSError, MmedgeError):  # then they only take more than they should
        kept = {f"step {folder.name}": folder for folder in (cache.root() / "steps").iterdir()}
        cache.shrink(
            {name: (_size(folder), _asked_for(folder)) for name, folder in kept.items()},
            LIMIT_BYTES,
            lambda name: shutil.rmtree(kept[name], ignore_errors=True),
        )
        cache.clear_scratch()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _asked_for(folder: Path) -> float:
    """When a step was last asked for, in seconds; one without its index never."""
    index = folder / INDEX
    return index.stat().st_mtime if index.is_file() else 0.0
