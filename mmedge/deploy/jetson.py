"""What only a Jetson has: its board, the release of Jetson Linux, CUDA, TensorRT, power mode and clocks, by the system's files. Never run on one so far."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from mmedge.backends.tensorrt import flavour
from mmedge.backends.tensorrt.versions import RELEASES, Release, release_for, row_for
from mmedge.deploy.finding import Finding, finding
from mmedge.errors import MmedgeError
from mmedge.profile.machine import Machine, listed, text
from mmedge.target import Board, here

RELEASE = "/etc/nv_tegra_release"
DRIVERS = ("nvhost-gpu", "nvgpu", "nvidia0", "nvidiactl")
"""Devices of the GPU in /dev, across the releases."""
OF_GROUPS = (*DRIVERS, "nvmap", "dri/renderD128")
"""Devices in /dev that only members of the groups video and render may open (NVIDIA/NemoClaw pulls 5018 and 7762), and that CUDA opens."""
LIBRARIES = ("usr/lib/aarch64-linux-gnu", "usr/local/tensorrt/lib")
NVINFER = re.compile(r"Package: libnvinfer\d+\n(?:.+\n)*?Version: (\d[\d.]*)", re.MULTILINE)
"""In Debian's list of what is installed: ``10.3.0.30-1+cuda12.5``."""
ORT_INDEX = "https://pypi.jetson-ai-lab.io/jp6/cu126/+simple/"
"""The one place where onnxruntime-gpu is known for JetPack 6; without ``+simple`` pip takes the CPU's wheel from elsewhere without a word."""
ORT_FIX = f'pip uninstall --yes onnxruntime && pip install --no-deps --index-url {ORT_INDEX} "onnxruntime-gpu==1.23.*"'
IN_GROUPS = 'start the container with --group-add video --group-add "$(getent group render | cut -d: -f3)"'
GROUPS = "sudo usermod -aG video,render $USER; then log in again"
NO_ORT = "none is known for this JetPack: leave it, TensorRT uses the GPU"


@dataclass(frozen=True)
class Jetson:
    """What is known of the board at hand."""

    root: Path
    facts: Machine
    release: Release | None
    boards: tuple[Board, ...]
    """Which it can be: a container hides its name."""

    @classmethod
    def at(cls, root: Path, facts: Machine) -> Jetson | None:
        """None where this is none. ``root`` is where the system's files are."""
        kernel = text(root / "proc/sys/kernel/osrelease") or ""
        if facts.l4t is None and not kernel.endswith("-tegra"):
            return None
        return cls(root, facts, release_for(facts.l4t) if facts.l4t else None, here(root)[0].boards)

    def findings(self) -> list[Finding]:
        """A finding for each thing that was looked at."""
        return [*self._board(), self._release(), self._cuda(), self._tensorrt(), self._power_mode(), self._clocks(), *self._devices(), *self._container()]

    @property
    def wheel(self) -> str:
        """How to get an ONNX Runtime that uses the GPU."""
        return ORT_FIX if self.release and self.release.jetpack.startswith("6") else NO_ORT

    def _board(self) -> list[Finding]:
        return [finding("board", self.facts.board)] if self.facts.board else []

    def _release(self) -> Finding:
        if self.facts.l4t is None:
            mount = f"start the container with -v {RELEASE}:{RELEASE}:ro"
            fix = mount if self.facts.container else "restore that file: Jetson Linux has it, and nothing else tells its release"
            return finding("Jetson Linux", f"NVIDIA's kernel runs here, but {RELEASE} is missing", fix, "missing")
        known = ", ".join(f"{one.l4t_low} ({one.jetpack})" for one in RELEASES if one.l4t_low and (not self.boards or set(one.boards) & set(self.boards)))
        if self.release is None:
            return finding(
                "Jetson Linux", f"{self.facts.l4t}: nothing is known of this release", f"update the board to one that is known: {known}; or update mmedge"
            )
        said = f"{self.facts.l4t}, JetPack {self.release.jetpack}"
        if self.boards and not set(self.boards) & set(self.release.boards):
            return finding("Jetson Linux", f"{said}, which is not made for this board", f"update the board to one of: {known}")
        brings = ", ".join(f"{name} {version}" for name, version in (("CUDA", self.release.cuda), ("TensorRT", self.release.tensorrt)) if version)
        return finding("Jetson Linux", f"{said}; it comes with {brings}" if brings else said)

    def _cuda(self) -> Finding:
        for folder in listed(self.root / "usr/local"):
            if re.fullmatch(r"cuda(-\d+(\.\d+)?)?", folder.name) and (found := text(folder / "version.json")):
                try:
                    return finding("CUDA", f"{json.loads(found)['cuda']['version']} in /usr/local/{folder.name}")
                except (ValueError, KeyError, TypeError):
                    continue
        return finding("CUDA", "nothing in /usr/local/cuda", self._packages("nvidia-jetpack"), "missing")

    def _tensorrt(self) -> Finding:
        files = [path.name for folder in LIBRARIES for path in listed(self.root / folder)]
        system = self._installed(files)
        try:
            version = flavour.version("tensorrt")
        except MmedgeError as error:
            return finding("TensorRT", f"{system or 'installed'}, and its Python module is broken: {error.what}", error.fix)
        if version is None:
            if system is None:
                return finding("TensorRT", "not installed", self._packages("tensorrt python3-libnvinfer"), "missing")
            return finding("TensorRT", f"{system}, but its Python module is not to be seen here", flavour.INSTALL["tensorrt"], "missing")
        version = system if system and system.startswith(version) else version
        row = row_for(version)
        if row is None:
            return finding("TensorRT", f"{version}: nothing is known of this version", f"{self._its_own()}; or update mmedge")
        if self.boards and not set(row.boards) & set(self.boards):
            return finding("TensorRT", f"{version} does not support {self.facts.board or 'Jetson'}", self._its_own())
        lacks = [part for part, begins in (("parser", "libnvonnxparser.so"), ("builder", "libnvinfer_builder_resource")) if not _has(files, begins)]
        if system and lacks:
            return finding("TensorRT", f"{version} without its {' and '.join(lacks)}: it runs engines, but builds none", self._packages("tensorrt"))
        return finding("TensorRT", f"{version}: parser, builder and Python module")

    def _installed(self, files: list[str]) -> str | None:
        """The version of the system's own, by Debian's list or by the name of the library itself."""
        if found := NVINFER.search(text(self.root / "var/lib/dpkg/status") or ""):
            return found[1]
        named = [name.removeprefix("libnvinfer.so.") for name in files if name.startswith("libnvinfer.so.")]
        return max(named, key=len, default=None)

    def _its_own(self) -> str:
        """How to get the TensorRT that belongs to the board's release."""
        release = self.release
        if release is None or release.tensorrt is None:
            return self._packages("tensorrt python3-libnvinfer")
        if self.facts.container:
            return f"start a container that holds TensorRT {release.tensorrt}: its base is {release.base_image}"
        return f"take TensorRT {release.tensorrt} of JetPack {release.jetpack}: sudo apt install tensorrt python3-libnvinfer, and none from pip"

    def _packages(self, names: str) -> str:
        if self.facts.container:
            return f"start a container that holds it: its base is {self.release.base_image}" if self.release else "start a container that holds it"
        return f"sudo apt install {names}"

    def _power_mode(self) -> Finding:
        mode = (self.facts.power_mode or "").partition(",")[0]
        if not mode:
            mounts = "-v /etc/nvpmodel.conf:/etc/nvpmodel.conf:ro -v /var/lib/nvpmodel:/var/lib/nvpmodel:ro"
            fix = f"ask the board itself: sudo nvpmodel -q; or start the container with {mounts}" if self.facts.container else "sudo nvpmodel -q"
            return finding("power mode", "the system does not tell it here", fix)
        modes = re.findall(r"^< *POWER_MODEL +ID=(\d+) +NAME=(\S+)", text(self.root / "etc/nvpmodel.conf") or "", re.MULTILINE)
        best = max((one for one in modes if one[1].startswith("MAXN")), key=lambda one: len(one[1]), default=None)
        if best and mode != best[1]:
            return finding("power mode", f"{mode}, which limits the clocks; {best[1]} does not", f"if supply and cooling allow it: sudo nvpmodel -m {best[0]}")
        return finding("power mode", mode)

    def _clocks(self) -> Finding:
        if self.facts.clocks_locked is None:
            return finding("clocks", "the system does not tell them here", "sudo jetson_clocks --show, on the board itself")
        if self.facts.clocks_locked:
            return finding("clocks", "fixed, as jetson_clocks leaves them")
        return finding("clocks", "they follow the load: latencies scatter, and what runs seldom runs slowly", "sudo jetson_clocks (until the next start)")

    def _devices(self) -> list[Finding]:
        """Only what goes wrong: CUDA's own words for it name no device."""
        there = [name for name in OF_GROUPS if (self.root / "dev" / name).exists()]
        closed = [f"/dev/{name}" for name in there if not os.access(self.root / "dev" / name, os.R_OK | os.W_OK)]
        if not closed:
            return []
        fix = IN_GROUPS if self.facts.container else GROUPS
        return [finding("GPU devices", f"{', '.join(closed)} may not be opened by this user: CUDA then finds no GPU", fix)]

    def _container(self) -> list[Finding]:
        if not self.facts.container:
            return []
        if any((self.root / "dev" / name).exists() for name in DRIVERS):
            return [finding("container", f"{self.facts.container}, with the GPU's devices")]
        return [finding("container", f"{self.facts.container}, without the GPU's devices", "start it with --runtime nvidia")]


def _has(files: list[str], begins: str) -> bool:
    return any(name.startswith(begins) for name in files)
