"""What a start costs, each time in a process of its own: until it is imported, loaded, compiled, until the first answer; and how much memory that takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mmedge.bundle import Bundle
from mmedge.documents import Document
from mmedge.profile.processes import run_module
from mmedge.profile.report import Fresh, Startup
from mmedge.target import Target

PAGE_CACHE = "files may come from the system's memory: the bundle was read before, and dropping what the system keeps of it needs root"
BESIDE = "what the engines took beside CUDA's own; other programs that came or went meanwhile are in it"
ON_CPU = {"ort", "openvino", "ref", "null"}
"""Backends that this version runs on the CPU."""


class Told(Document):
    """What one process found out."""

    fresh: Fresh
    answer: str
    """What was answered first; empty where nothing could be."""


def startup(path: Path, target: Target, *, answer: str | None = None, processes: int = 5, progress: Callable[[str], None]) -> Startup:
    """Start ``processes`` times, one after another.

    The time is counted from just before the process is made, on the monotonic clock, which all processes share: the kernel's own mark of a process's start
    has hundredths of a second. Whether a start reads its files from the disk or from the system's memory is not controlled, as that needs root: a first
    start may, the later ones will find them in memory. A start after switching the machine on is slower.

    Args:
        answer: ``module:function`` to call with the bundle and the target for the first answer; None: the first verb that can be called.

    Raises:
        MmedgeError: what a process met, in its own words; or that it was killed.
    """
    told = []
    for number in range(1, processes + 1):
        told.append(_fresh(path, target, answer or ""))
        progress(f"start {number} of {processes}: {_line(told[-1].fresh)}")
    memory = BESIDE if any(one.fresh.device_mb is not None for one in told) else _device_memory(path, target)
    return Startup(processes=tuple(one.fresh for one in told), answer=told[0].answer, device_memory=memory, note=PAGE_CACHE)


def _fresh(path: Path, target: Target, answer: str) -> Told:
    arguments = [str(path), target.model_dump_json(by_alias=True), answer, repr(time.monotonic())]
    return Told.model_validate(run_module("mmedge.profile.fresh", arguments, f"started {path} for {target.name}"))


def _line(fresh: Fresh) -> str:
    reached = f"first answer after {fresh.first_answer_ms:.0f} ms" if fresh.first_answer_ms is not None else f"compiled in {fresh.compile_ms:.0f} ms"
    return f"{reached}, {fresh.peak_rss_mb:.0f} MB at most"


def _device_memory(path: Path, target: Target) -> str:
    backends = list(dict.fromkeys(placed.backend for placed in Bundle.open(path).manifest.engines.get(target.name, {}).values()))
    others = [backend for backend in backends if backend not in ON_CPU]
    return f"{', '.join(others)} does not tell" if others else f"no accelerator: {', '.join(backends)} on the CPU"
