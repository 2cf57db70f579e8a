"""Engines that were built, under everything that they are bound to: a difference in anything is another engine, which is built, never loaded.

::

    CACHE/engines/KEY.plan      an engine
    CACHE/engines/KEY.json      what it is bound to, and its sha256: written last, and replaced whole
    CACHE/engines/KEY.timing    what the builder measured, for all engines of one device, TensorRT, CUDA and choice of options

Together the engines take no more than ``LIMIT_BYTES``: those that were not asked for the longest go first, and none that is being built or handed out.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmedge import cache
from mmedge.backends.tensorrt import device, trtexec, versions
from mmedge.backends.tensorrt import flavour as flavours
from mmedge.backends.tensorrt.build import profile_shapes
from mmedge.backends.tensorrt.flags import Shapes
from mmedge.documents import Document, dump_json, read_json, replace_file
from mmedge.errors import MmedgeError
from mmedge.runner import Candidate

if TYPE_CHECKING:
    from mmedge.target import Target

Key = Mapping[str, str]

LIMIT_BYTES = 8 << 30
"""Of all engines that are kept. A bundle holds its own engines besides, which nothing here touches."""

GRAPH_ONLY = ("sha256", "weights", "shapes")
"""What the builder's measurements are not bound to."""

NONE = "none"

BOUND_TO = {"tensorrt": "TensorRT", "compute_capability": "compute capability", "l4t": "Jetson Linux", "cuda": "CUDA"}
"""What an engine shares with the machine that built it -> how a user knows it."""

AGAIN = "engines fit only the board and the TensorRT that built them; build it again here: mmedge compile BUNDLE"

THROWAWAY = "throwaway"
"""A candidate's option: its engine is asked for once. It changes nothing in it."""

ASKED = "1"
"""Raised whenever ``build`` asks the builder for something else: engines that were built before are then built again."""


class Kept(Document):
    """What is known of a kept engine."""

    key: dict[str, str]
    sha256: str
    """Of the engine."""
    size_bytes: int


def key(candidate: Candidate, target: Target, capability: str | None = None) -> dict[str, str]:
    """Everything that the engine of a candidate is bound to.

    Args:
        capability: the compute capability that TensorRT-RTX builds for where no GPU is at hand; None: that of the GPU.

    Raises:
        MmedgeError: TensorRT (or trtexec, where the target asks for it) is not installed, there is no GPU and no ``capability``, or a dimension has no range.
    """
    graph = candidate.graph
    return {
        **_here(target, capability),
        "sha256": graph.sha256,
        "weights": (graph.weights_sha256 or _sha256(graph.weights)) if graph.weights else NONE,
        "shapes": text(profile_shapes(graph)),
        "options": options(candidate, target),
    }


def hold_to(key: Key, name: str, target: Target) -> None:
    """Raises MmedgeError: an engine that is bound to ``key`` was built under something else than what is here. ``name`` is its file's."""
    here = _here(target, None) if key else {}
    for what, words in BOUND_TO.items():
        # A version may be told without its last numbers, as trtexec tells it.
        if what in key and any(one != other for one, other in zip(key[what].split("."), here[what].split("."))):
            raise MmedgeError(f"{name} was built under {words} {key[what]}, and here is {here[what]}", AGAIN)


def workspace_mb(target: Target) -> int | None:
    """The memory that a layer may use beside its tensors: a quarter of the board's, since the weights and everything else share it."""
    return target.memory_mb // 4 if target.memory_mb else None


def options(candidate: Candidate, target: Target) -> str:
    """How the builder is asked, as text."""
    said: dict[str, Any] = {"asked": ASKED, "workspace_mb": workspace_mb(target), "trtexec": flavours.options(target).trtexec, **candidate.options}
    said.pop(THROWAWAY, None)
    return " ".join([candidate.precision, *(f"{name}={value}" for name, value in said.items())])


def text(shapes: Shapes) -> str:
    """Shapes as they stand in a key: ``input_ids=1x1:1x4:1x16``."""
    return " ".join(f"{name}={':'.join('x'.join(map(str, side)) for side in sides)}" for name, sides in sorted(shapes.items()))


def find(key: Key) -> Path | None:
    """The engine that was kept under exactly this key, undamaged; what is damaged is thrown away."""
    entry, plan = _paths(key)
    if not entry.is_file():
        return None
    try:
        kept = read_json(entry, Kept, fix="")
        if kept.key == dict(key) and plan.stat().st_size == kept.size_bytes and cache.sha256_of(plan) == kept.sha256:
            with contextlib.suppress(OSError):  # another user's file: it only goes earlier than it should
                os.utime(entry)
            return plan
    except (MmedgeError, OSError):
        pass
    with cache.writing():
        entry.unlink(missing_ok=True)
        plan.unlink(missing_ok=True)
    return None


def keep(key: Key, engine: Any) -> Path:
    """Store an engine, as bytes or as a file; whoever looks for it finds all of it or nothing.

    Raises:
        MmedgeError: no space, or no permission; what was there before is whole or gone.
    """
    entry, plan = _paths(key)
    with cache.locked(f"keep {plan.name}") as scratch, cache.writing():
        entry.parent.mkdir(parents=True, exist_ok=True)
        digest, size_bytes = write(engine, scratch / plan.name)
        os.replace(scratch / plan.name, plan)
    replace_file(entry, dump_json(Kept(key=dict(key), sha256=digest, size_bytes=size_bytes)).encode())
    _purge(plan)
    return plan


def lock(key: Key) -> str:
    """The name of the lock that is held from the search for an engine until it was handed out."""
    return f"engine {_name(key)}"


def _purge(new: Path) -> None:
    """Remove engines until the rest keeps to ``LIMIT_BYTES``, but not ``new``."""
    with contextlib.suppress(OSError, MmedgeError):  # then they only take more than they should
        others = {f"engine {plan.stem}": plan for plan in new.parent.glob("*.plan") if plan != new}

        def remove(key: str) -> None:
            others[key].with_suffix(".json").unlink(missing_ok=True)
            others[key].unlink(missing_ok=True)

        sizes = {key: (plan.stat().st_size, _asked_for(plan)) for key, plan in others.items()}
        cache.shrink(sizes, LIMIT_BYTES - new.stat().st_size, remove)


def _asked_for(plan: Path) -> float:
    """When an engine was last asked for, in seconds; one that nothing tells of, as a killed writer leaves it, never."""
    entry = plan.with_suffix(".json")
    return entry.stat().st_mtime if entry.is_file() else 0.0


def timing_cache(key: Key) -> Path:
    """The file for what the builder measures. TensorRT itself checks that it fits."""
    path = _folder() / f"{_name({name: value for name, value in key.items() if name not in GRAPH_ONLY})}.timing"
    with cache.writing():
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write(engine: Any, path: Path) -> tuple[str, int]:
    """Put an engine, as bytes or as a file, on the disk. Returns its sha256 and its size in bytes."""
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("wb") as file:
        for piece in _pieces(engine):
            file.write(piece)
            digest.update(piece)
            size_bytes += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), size_bytes


def _pieces(engine: Any) -> Any:
    size = 1 << 24
    if isinstance(engine, Path):
        with engine.open("rb") as file:
            while piece := file.read(size):
                yield piece
    else:
        whole = memoryview(engine).cast("B")
        yield from (whole[start : start + size] for start in range(0, len(whole), size))


def _paths(key: Key) -> tuple[Path, Path]:
    name = _name(key)
    return _folder() / f"{name}.json", _folder() / f"{name}.plan"


def _folder() -> Path:
    return cache.root() / "engines"


def _name(key: Key) -> str:
    return hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:32]


def _here(target: Target, capability: str | None) -> dict[str, str]:
    """What an engine is bound to but for its graph and options, of this machine. Raises MmedgeError as ``key`` does."""
    flavour = flavours.flavour(target)
    return {
        "flavour": flavour,
        "tensorrt": trtexec.version() if flavours.options(target).trtexec else flavours.load(flavour).__version__,
        "compute_capability": capability or device.compute_capability(),
        "l4t": versions.l4t() or NONE,
        "cuda": _cuda(),
    }


def _cuda() -> str:
    try:
        return device.cuda_version()
    except MmedgeError:
        return NONE


def _sha256(path: Path) -> str:
    """Several graphs share one weights file."""
    found = path.stat()
    return _sha256_of(path, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256_of(path: Path, size_bytes: int, changed_ns: int) -> str:
    return cache.sha256_of(path)
