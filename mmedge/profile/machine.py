"""The machine behind a figure: without it, a figure means nothing."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated

from pydantic import Field

from mmedge.backends.tensorrt.versions import l4t
from mmedge.documents import Document
from mmedge.features import cpu_flags

RUNTIMES = ("onnxruntime", "openvino", "tensorrt", "numpy", "piper-tts")
GPUS = re.compile(r"gpu|ga10b|gv11b|gp10b", re.IGNORECASE)
"""What the device of a Jetson's GPU is called in /sys/class/devfreq, across its kernels."""
SYSTEM = Path("/")


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
    kernel: str | None = None
    """Release and build: a real-time kernel says so there."""
    container: str | None = None
    """Which kind this process runs in."""
    affinity: tuple[int, ...] = ()
    """The numbers of the cores that this process may use."""
    quota: float | None = None
    """Cores' worth of time that the control groups allow this process; null: no limit."""
    flags: tuple[str, ...] = ()
    """What the CPU can do that matters here (see ``mmedge.features``)."""
    governor: str | None = None
    """How the clock of the cores is chosen."""
    power_mode: str | None = None
    """nvpmodel's on a Jetson, the platform profile on a laptop; and whether it runs on its battery."""
    clocks_locked: bool | None = None
    """Whether the clocks of CPU and GPU may not change, as jetson_clocks leaves them."""
    l4t: str | None = None
    """Release of Jetson Linux: 36.4.3 comes with JetPack 6.2."""
    swap_mb: int | None = None


class Reading(Document):
    """The machine at one moment, or over one interval. Null where the system does not tell."""

    load: float | None = None
    steal: float | None = None
    """Share of the CPU time that the hypervisor gave to others, 0 to 1."""
    others: float | None = None
    """Cores that other processes used."""
    temperature_c: float | None = None
    """The hottest zone."""
    clock_mhz: float | None = None
    """Mean over the cores of this process."""
    free_mb: float | None = None
    slowdown: dict[str, Annotated[float, Field(ge=1.0)]] = {}
    """Piece of fixed work -> how many times as long it took as at this machine's best (see ``pace``); empty over an interval."""


class Conditions(Document):
    """The machine before, during and after."""

    before: Reading
    during: Reading
    after: Reading
    governor: str | None = None
    power_mode: str | None = None
    energy: str = ""
    """The meter that was read, or why there is none."""


def machine(root: Path = SYSTEM) -> Machine:
    """Read the facts now. ``root`` is where the system's files are."""
    cores = affinity()
    return Machine(
        cpu=_cpu(root),
        cores=len(cores) or os.cpu_count() or 1,
        memory_mb=memory_mb(root, "MemTotal"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        board=text(root / "proc/device-tree/model"),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        packages=installed(RUNTIMES),
        kernel=f"{platform.release()} {platform.version()}",
        container=_container(root),
        affinity=cores,
        quota=_quota(root),
        flags=cpu_flags(root),
        governor=governor(root, cores),
        power_mode=power_mode(root),
        clocks_locked=_clocks_locked(root, cores),
        l4t=l4t(root),
        swap_mb=memory_mb(root, "SwapTotal"),
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
    cores = f"{facts.cores} cores" + (f" (quota {facts.quota:g})" if facts.quota else "")
    memory = f", {facts.memory_mb} MB" if facts.memory_mb else ""
    mode = f", {facts.power_mode}" if facts.power_mode else ""
    release = f" (L4T {facts.l4t})" if facts.l4t else ""
    return f"{facts.board or facts.cpu or 'unknown CPU'}, {cores}{memory}{mode}, {facts.system}{release}, Python {facts.python}, {packages}"


def affinity() -> tuple[int, ...]:
    """The cores that this process may use; empty where the system has no such notion."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def governor(root: Path, cores: Iterable[int]) -> str | None:
    """Of the given cores; several where they differ."""
    found = [text(frequencies(root, core) / "scaling_governor") for core in cores]
    return ", ".join(dict.fromkeys(name for name in found if name)) or None


def power_mode(root: Path) -> str | None:
    """What the board or the laptop is set to: ``MAXN_SUPER``, ``balanced, on battery``."""
    supplies = [folder for folder in listed(root / "sys/class/power_supply") if text(folder / "type") == "Mains"]
    on_battery = bool(supplies) and all(text(folder / "online") == "0" for folder in supplies)
    found = [_nvpmodel(root) or text(root / "sys/firmware/acpi/platform_profile"), "on battery" if on_battery else None]
    return ", ".join(filter(None, found)) or None


def frequencies(root: Path, core: int) -> Path:
    """The folder in which the kernel tells and takes the clock of a core."""
    return root / f"sys/devices/system/cpu/cpu{core}/cpufreq"


def listed(folder: Path) -> list[Path]:
    """What is in a folder of the system, in order; nothing where it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def text(path: Path) -> str | None:
    """A small file of the system without its line's end; None where there is none, or none that may be read."""
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return None


def number(path: Path) -> int | None:
    """As ``text``, where it is a whole number."""
    found = text(path)
    return int(found) if found is not None and re.fullmatch(r"-?[0-9]+", found) else None


def _cpu(root: Path) -> str | None:
    return next(_cpuinfo(root, "model name", "Model"), None) or platform.processor() or None


def _cpuinfo(root: Path, *keys: str) -> Iterator[str]:
    for line in (text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            yield value.strip()


def memory_mb(root: Path, key: str) -> int | None:
    for line in (text(root / "proc/meminfo") or "").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) // 1024
    return None


def _container(root: Path) -> str | None:
    groups = text(root / "proc/self/cgroup") or ""
    if "kubepods" in groups or (root / "var/run/secrets/kubernetes.io").exists():
        return "kubernetes"
    for mark, kind in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if (root / mark).exists():
            return kind
    named = text(root / "run/systemd/container")
    return named or next((kind for kind in ("docker", "libpod", "containerd", "lxc") if f"/{kind}" in groups), None)


def _quota(root: Path) -> float | None:
    """The narrowest limit of the control group and those around it, by version 2 (``cpu.max``) or 1 (``cpu.cfs_quota_us``)."""
    limits = []
    for line in (text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in ("sys/fs/cgroup", f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"):
            group = Path(path.replace("..", "").strip("/"))
            for folder in {root / mount / part for part in (group, *group.parents)}:
                limits.append(_limit(folder))
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(group: Path) -> float | None:
    quota, _, period = (text(group / "cpu.max") or "").partition(" ")
    if not quota.isdigit():
        quota, period = (text(group / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
    return round(int(quota) / int(period), 3) if quota.isdigit() and period.isdigit() and int(period) else None


def _clocks_locked(root: Path, cores: Iterable[int]) -> bool | None:
    limits = [(number(frequencies(root, core) / "scaling_min_freq"), number(frequencies(root, core) / "scaling_max_freq")) for core in cores]
    for device in listed(root / "sys/class/devfreq"):
        if GPUS.search(device.name):
            limits.append((number(device / "min_freq"), number(device / "max_freq")))
    known = [least == most for least, most in limits if least is not None and most is not None]
    return all(known) if known else None


def _nvpmodel(root: Path) -> str | None:
    """The mode that was set last, or the one a board starts with; its command needs root on some boards, its files do not."""
    modes = text(root / "etc/nvpmodel.conf") or ""
    found = re.search(r"pmode:(\d+)", text(root / "var/lib/nvpmodel/status") or "") or re.search(r"^< *PM_CONFIG +DEFAULT=(\d+)", modes, re.MULTILINE)
    if found is None:
        return None
    named = re.search(rf"^< *POWER_MODEL +ID={int(found[1])} +NAME=(\S+)", modes, re.MULTILINE)
    return named[1] if named else f"nvpmodel {int(found[1])}"
