"""What a comparison needs besides mmedge: environments of its own, Debian's packages without root, and the machine in one paragraph."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from mmedge import cache
from mmedge.evaluate.debian import download

CPU_TORCH = "https://download.pytorch.org/whl/cpu"


def folder() -> Path:
    """Where everything of the benchmarks is kept: beside the weights, never in the repository."""
    path = cache.root() / "bench"
    path.mkdir(parents=True, exist_ok=True)
    return path


def python_with(name: str, requirements: Sequence[str]) -> Path:
    """The interpreter of a virtual environment that holds ``requirements`` and nothing of ours; made on first use."""
    path = folder() / "env" / name
    ready = path / "requirements.txt"
    if not ready.is_file() or ready.read_text().split() != list(requirements):
        print(f"making {path} with {', '.join(requirements)}", file=sys.stderr)
        venv.create(path, with_pip=True, clear=True)
        install = [path / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements]
        if subprocess.run(install).returncode != 0:  # pip's own sources may lack torch's build for the CPU
            subprocess.run([*install, "--extra-index-url", CPU_TORCH], check=True)
        ready.write_text("\n".join(requirements))
    return path / "bin" / "python"


def debian(*packages: str) -> Path:
    """A folder with the unpacked contents of Debian packages, their dependencies not included; needs apt and dpkg, but no root."""
    path = folder() / "debian" / "+".join(packages)
    if not (path / "unpacked").exists():
        print(f"fetching Debian's {', '.join(packages)}", file=sys.stderr)
        path.mkdir(parents=True, exist_ok=True)
        download(packages, path)
        for archive in sorted(path.glob("*.deb")):
            subprocess.run(["dpkg", "-x", archive, path], check=True)
            archive.unlink()
        (path / "unpacked").touch()
    return path


def libraries(root: Path) -> dict[str, str]:
    """The process environment in which programs under ``root`` find their libraries."""
    found = sorted({str(file.parent) for file in root.rglob("*.so.*")})
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(found)}


def machine(*packages: str) -> str:
    """CPU, cores, memory, load, Python and package versions: what every figure must carry."""
    try:
        cpu = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())[0]
        memory_gb = round(int(re.findall(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[0]) / 2**20)
    except (OSError, IndexError):
        cpu, memory_gb = platform.processor() or platform.machine(), 0
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores, {memory_gb} GB, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {versions}"
