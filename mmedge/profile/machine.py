"""The machine behind a figure: without it, a figure means nothing."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from mmedge.documents import Document

RUNTIMES = ("onnxruntime", "openvino", "tensorrt", "numpy", "piper-tts")


class Machine(Document):
    """Facts read from the system; null where the system does not tell."""

    cpu: str | None
    cores: int
    """Those this process may use."""
    memory_mb: int | None
    system: str
    python: str
    board: str | None
    """The board's own name, on devices that have one."""
    load: float | None
    """Load average of the last minute."""
    packages: dict[str, str]


def machine() -> Machine:
    """Read the facts now."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_mb=_memory_mb(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        board=_text("/proc/device-tree/model"),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        packages=installed(RUNTIMES),
    )


def installed(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of those that are installed; nothing is imported."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe(facts: Machine) -> str:
    """One line for the foot of a table."""
    packages = ", ".join(f"{name} {version}" for name, version in facts.packages.items())
    memory = f", {facts.memory_mb} MB" if facts.memory_mb else ""
    return f"{facts.board or facts.cpu or 'unknown CPU'}, {facts.cores} cores{memory}, {facts.system}, Python {facts.python}, {packages}"


def _cpu() -> str | None:
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or None


def _memory_mb() -> int | None:
    for line in (_text("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace").rstrip("\0\n")
    except OSError:
        return None
