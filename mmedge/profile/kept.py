"""What was measured of this machine once, for later profiles: small documents in the cache, each under the hash of all that it depends on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TypeVar

from mmedge import cache
from mmedge.documents import Document, dump_json, read_json, replace_file
from mmedge.errors import MmedgeError


class Kept(Document):
    key: dict[str, str]
    """All that it depends on."""


K = TypeVar("K", bound=Kept)


def recall(folder: str, key: dict[str, str], kind: type[K]) -> K | None:
    """What was kept; None where there is nothing, or something damaged, foreign or not to be read."""
    try:
        kept = read_json(_path(folder, key), kind, fix="")
    except MmedgeError:
        return None
    return kept if kept.key == key else None


def keep(folder: str, found: Kept) -> None:
    """For next time. A cache that cannot be written costs the next profile some seconds, and this one nothing."""
    path = _path(folder, found.key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, dump_json(found).encode())
    except (OSError, MmedgeError):
        pass


def _path(folder: str, key: dict[str, str]) -> Path:
    return cache.root() / folder / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]}.json"
