"""What frozen networks give for data, computed once: teachers, and encoders whose heads alone are trained.

::

    CACHE/teachers/KEY/key.json                everything that the outputs depend on
    CACHE/teachers/KEY/00000-SHA256.safetensors   the outputs of the first rows under their names, in 16 bits, whole numbers in 32; then of the next ones

KEY is the hash of key.json. A shard's name holds the hash of its content: one that is damaged is found and computed anew, alone. Shards are written aside and
renamed, so what a killed process had finished stays. Together they take no more than ``LIMIT_BYTES``: those that were not asked for the longest go first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge import cache
from mmedge.cache import Trace
from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.tensors import Array

SHARD_BYTES, SHARD_ROWS = 64 << 20, 1024
"""At most; a shard that was begun when its process was killed is lost."""
LIMIT_BYTES = 16 << 30
AT_ONCE = 16
"""Rows that are computed together."""
EVERY_S = 10.0
"""Between two lines of progress."""
KEY = "key.json"

Compute = Callable[[range], Mapping[str, Array]]
"""Rows -> their outputs, each an array [rows, ...] of the same shape for all rows."""


class Outputs:
    """Outputs by name and row, read from the disk when they are asked for."""

    def __init__(self, shards: Sequence[Path], rows: Sequence[range]) -> None:
        self._opened = [need("safetensors", extra="build").safe_open(path, framework="numpy") for path in shards]
        self._ends = np.array([one.stop for one in rows])
        self.count = int(self._ends[-1])

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """All rows of one output, float32 [rows, ...]."""
        return np.concatenate([shard.get_tensor(name).astype(np.float32) for shard in self._opened])

    def numbers(self, name: str) -> NDArray[np.int64]:
        """All rows of one output of whole numbers, int64 [rows, ...]."""
        return np.concatenate([shard.get_tensor(name).astype(np.int64) for shard in self._opened])

    def rows(self, name: str, chosen: Sequence[int]) -> NDArray[np.float32]:
        """Some rows of one output, float32 [chosen, ...]: of shards that are not in memory."""
        found = []
        for row in chosen:
            at = int(np.searchsorted(self._ends, row, side="right"))
            inside = row - (int(self._ends[at - 1]) if at else 0)
            found.append(self._opened[at].get_slice(name)[inside : inside + 1])
        return np.concatenate(found).astype(np.float32)


def outputs(key: Mapping[str, Any], count: int, compute: Compute, report: Trace) -> Outputs:
    """The outputs of ``count`` rows: read where they were computed before, else computed now.

    Args:
        key: everything that they depend on, as JSON: the network's files, the data's fingerprint, the seed of the augmentation, versions.
        compute: is called for a few rows at a time, in order, and not at all where everything is there.

    Raises:
        MmedgeError: the cache has no space; an output is not finite or does not fit 16 bits; or whatever ``compute`` raises.
    """
    told = json.dumps({**key, "rows": count}, sort_keys=True)
    folder = cache.root() / "teachers" / hashlib.sha256(told.encode()).hexdigest()[:32]
    with cache.in_use(_name(folder)):
        with cache.locked(f"work on {_name(folder)}", report) as scratch:
            shards = _Shards(folder, scratch, report)
            shards.begin(told)
            found = shards.complete(count, compute)
        os.utime(folder / KEY)
        _purge(folder)
        return Outputs([path for path, _ in found], [rows for _, rows in found])


class _Shards:
    """The shards of one key, while they are being completed."""

    def __init__(self, folder: Path, scratch: Path, report: Trace) -> None:
        self._folder, self._scratch, self._report, self._said_s = folder, scratch, report, time.perf_counter()

    def begin(self, told: str) -> None:
        with cache.writing():
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._scratch / KEY).write_text(told, encoding="utf-8")
            os.replace(self._scratch / KEY, self._folder / KEY)

    def complete(self, count: int, compute: Compute) -> list[tuple[Path, range]]:
        """Every shard with its rows; what is missing or damaged is computed."""
        there = self._undamaged()
        probe: Mapping[str, Array] = {}
        if 0 in there:
            size = _rows_in(there[0])
        else:
            rows = range(min(AT_ONCE, count))
            probe = _halves(compute(rows), rows)
            size = min(SHARD_ROWS, max(1, SHARD_BYTES * len(rows) // max(1, sum(value.nbytes for value in probe.values()))))
        made = []
        for number, begin in enumerate(range(0, count, size)):
            rows = range(begin, min(begin + size, count))
            made.append((there.get(number) or self._compute(number, rows, count, compute, probe if number == 0 else {}), rows))
        return made

    def _undamaged(self) -> dict[int, Path]:
        """Number -> shard. Those whose content has another hash than their name says are removed, and so are doubles."""
        found: dict[int, Path] = {}
        for path in sorted(self._folder.glob("*.safetensors")):
            named = re.fullmatch(r"(\d{5})-([0-9a-f]{64})", path.stem)
            if named and int(named[1]) not in found and cache.sha256_of(path) == named[2]:
                found[int(named[1])] = path
            else:
                self._report(f"{path} is damaged: it is computed anew")
                path.unlink()
        return found

    def _compute(self, number: int, rows: range, count: int, compute: Compute, begun: Mapping[str, Array]) -> Path:
        """``begun``: the outputs of the first of these rows, where they are known."""
        parts: list[Mapping[str, Array]] = []
        for begin in range(rows.start, rows.stop, AT_ONCE):
            part = range(begin, min(begin + AT_ONCE, rows.stop))
            parts.append({name: value[: len(part)] for name, value in begun.items()} if begun and not parts else _halves(compute(part), part))
            self._said(part.stop, count)
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        aside = self._scratch / "shard"
        with cache.writing():
            need("safetensors.numpy", extra="build").save_file(whole, aside)
            path = self._folder / f"{number:05}-{cache.sha256_of(aside)}.safetensors"
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(aside, path)
        return path

    def _said(self, done: int, count: int) -> None:
        if time.perf_counter() - self._said_s >= EVERY_S or done == count:
            self._said_s = time.perf_counter()
            self._report(f"{done} of {count} computed")


def _rows_in(path: Path) -> int:
    with need("safetensors", extra="build").safe_open(path, framework="numpy") as shard:
        return int(shard.get_slice(next(iter(shard.keys()))).get_shape()[0])


def _halves(found: Mapping[str, Array], rows: range) -> dict[str, Array]:
    made: dict[str, Array] = {}
    for name, value in found.items():
        if len(value) != len(rows):
            raise ValueError(f"{len(value)} rows of {name} for {len(rows)}")
        with np.errstate(over="ignore"):
            made[name] = np.ascontiguousarray(value, np.int32 if value.dtype.kind in "iu" else np.float16)
        if not np.isfinite(made[name].astype(np.float32)).all():
            raise MmedgeError(f"{name} of the teacher is not finite, or beyond 16 bits, in rows {rows.start} to {rows.stop - 1}", "use another teacher")
    return made


def _name(folder: Path) -> str:
    return f"teacher {folder.name}"


def _purge(kept_folder: Path) -> None:
    with contextlib.suppress(OSError, MmedgeError):  # then they only take more than they should
        kept = {_name(one): one for one in kept_folder.parent.iterdir()}
        sizes = {name: (sum(file.stat().st_size for file in one.iterdir()), (one / KEY).stat().st_mtime) for name, one in kept.items() if (one / KEY).is_file()}
        cache.shrink(sizes, LIMIT_BYTES, lambda name: shutil.rmtree(kept[name], ignore_errors=True))
