"""What this machine can do, and what to install for more. Everything is tried, nothing is assumed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from pydantic import Field

from mmedge import cache, catalog
from mmedge.deploy import kernel
from mmedge.deploy.devices import devices
from mmedge.deploy.finding import Finding, finding
from mmedge.deploy.jetson import Jetson
from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.features import INTEGER_FLAGS
from mmedge.need import have, need
from mmedge.profile.machine import Machine, describe, machine, memory_mb
from mmedge.runner import backend_names, hold_options, load_backend
from mmedge.target import SYSTEM, Target

LOW_SPACE_MB = 2000
LOW_MEMORY_MB = 1000
SMALL_MB = 20000
"""A Jetson with less needs swap to build engines."""
NVIDIA = "proc/driver/nvidia/version"


class Diagnosis(Document):
    """Schema ``mmedge.doctor/1``."""

    schema_: Literal["mmedge.doctor/1"] = Field(default="mmedge.doctor/1", alias="schema")
    machine: Machine
    target: str
    """The best target for this machine."""
    findings: tuple[Finding, ...]


def doctor(root: Path = SYSTEM) -> Diagnosis:
    """Look at everything once. Never raises for what is missing: that is a finding. ``root`` is where the system's files are."""
    target, facts = Target.detected(root), machine(root)
    jetson = Jetson.at(root, facts)
    findings = [
        *(jetson.findings() if jetson else ()),
        *(_backend(name, target) for name in dict.fromkeys((*target.backends, *backend_names()))),
        *_gpu(root, jetson, target, facts),
        *_integers(facts),
        _package("torch", "build", "exports models (bundles may be made on another machine)"),
        _package("transformers", "build", "reads checkpoints (bundles may be made on another machine)"),
        _package("piper", "assistant", "phonemes for the voice"),
        *devices(root, facts.container),
        *_memory(root, jetson is not None, facts),
        _space(),
        *(_target(name, root) for name in catalog.names("targets")),
    ]
    return Diagnosis(machine=facts, target=target.name, findings=tuple(findings))


def asked(what: str) -> Target:
    """The target of a health check, before anything is looked at. Raises MmedgeError: there is none of that name, or its file is wrong."""
    target = Target.load(what)
    hold_options(target)
    return target


def hold(target: Target, root: Path = SYSTEM) -> None:
    """For a health check.

    Raises:
        MmedgeError: the target is not this machine, or its preferred backend cannot run here: one node is really run.
    """
    if target.detect is not None and not target.is_here(root):
        shows = next((file for file in target.detect.files if not (root / file.lstrip("/")).exists()), None)
        fix = f"see that {shows} is there; in a container: -v {shows}:{shows}:ro" if shows else f"name what it is: --target {Target.detected(root).name}"
        if shows and shows.startswith("/proc/"):
            fix = "install NVIDIA's driver: nvidia-smi must list the GPU; it shows itself in containers too"
        raise MmedgeError(f"this machine is no {target.name}", fix)
    name = target.backends[0]
    looked = _backend(name, target)
    if looked.state != "ok":
        raise MmedgeError(f"{target.name} prefers {name}, which cannot run here: {looked.found}", looked.fix)
    if why := kernel.on_backend(name, target):
        raise MmedgeError(f"{target.name} prefers {name}, which runs nothing here: {why}", "mmedge doctor says more")


def table(made: Diagnosis) -> str:
    """The diagnosis as text, a fix under each finding that has one."""
    width = max(len(one.name) for one in made.findings)
    lines = [describe(made.machine), f"best target: {made.target}", ""]
    for one in made.findings:
        lines.append(f"{one.state:8}{one.name.ljust(width)}  {one.found}")
        if one.fix:
            lines.append(f"{'':8}{'':{width}}  fix: {one.fix}")
    return "\n".join(lines)


def _backend(name: str, target: Target) -> Finding:
    if name not in backend_names():
        others = [other for other in target.backends if other in backend_names()]
        return Finding(
            state="missing",
            name=f"backend {name}",
            found=f"this version of mmedge has none, though {target.name} prefers it",
            fix=f"nothing to install yet: compile places the graphs on {', '.join(others)}" if others else "use another target: mmedge targets",
        )
    try:
        facts = load_backend(name).probe(target if name in target.backends else None)
    except MmedgeError as error:
        return Finding(state="warning", name=f"backend {name}", found=error.what, fix=error.fix)
    if not facts.available:
        spare = "" if name in target.backends else f"; {target.name} does not use it"
        return Finding(state="missing", name=f"backend {name}", found=facts.reason + spare, fix=facts.fix)
    return Finding(state="ok", name=f"backend {name}", found=f"{facts.version} ({facts.reason}{'; ' if facts.features else ''}{', '.join(facts.features)})")


def _integers(facts: Machine) -> list[Finding]:
    """What graphs in 8 bits meet here, as far as the system tells of its CPU."""
    if able := [flag for flag in facts.flags if flag in INTEGER_FLAGS]:
        return [finding("8 bits", f"the CPU adds up products of 8 bits in 32: {', '.join(able)}")]
    if "avx2" in facts.flags:
        return [finding("8 bits", "the CPU adds up products of 8 bits in 16: of what was quantized on others, the next candidate is taken here")]
    return []


def _gpu(root: Path, jetson: Jetson | None, target: Target, facts: Machine) -> list[Finding]:
    """Where there is an NVIDIA GPU: whether ONNX Runtime was built for it, and a kernel that is really run on it."""
    if jetson is None and not (root / NVIDIA).exists():
        return []
    wheel = jetson.wheel if jetson else "pip uninstall --yes onnxruntime && pip install onnxruntime-gpu"
    try:
        providers = need("onnxruntime", extra="build").get_available_providers()
    except MmedgeError as error:
        return [finding("ONNX Runtime on the GPU", error.what, error.fix, "missing")]
    made = []
    if kernel.CUDA not in providers:
        made.append(finding("ONNX Runtime on the GPU", f"only {', '.join(providers)}: the wheel for CPUs is installed", wheel))
        if target.backends[0] != "tensorrt" or not load_backend("tensorrt").probe(target).available:
            return made
        why, on = kernel.on_backend("tensorrt", target), "TensorRT"
    else:
        why, on = kernel.on_provider(kernel.CUDA), "ONNX Runtime"
    if not why:
        return [*made, finding("GPU kernel", f"a product of matrices ran on the GPU, by {on}")]
    fix = _kernel_fix(why, wheel if on == "ONNX Runtime" else "take the TensorRT that comes with the board's JetPack", facts.container)
    return [*made, finding("GPU kernel", f"none runs, by {on}: {why}", fix)]


def _kernel_fix(why: str, wheel: str, container: str | None) -> str:
    """By what the runtime said; ``wheel``: how to get one that fits."""
    if "no kernel image" in why:
        return f"the wheel has no kernels for this GPU, take one that has: {wheel}"
    if container:
        return "start the container with --runtime nvidia, from a base image that fits the board's release"
    if "cannot open shared object file" in why:
        return "install the libraries of CUDA and cuDNN in the versions that the wheel was built for"
    return f"see that the driver is loaded and fits; then {wheel}"


def _package(module: str, extra: str, purpose: str) -> Finding:
    if have(module):
        return Finding(state="ok", name=module, found=purpose)
    return Finding(state="missing", name=module, found=f"not installed: {purpose}", fix=f'pip install "mmedge[{extra}]"')


def _memory(root: Path, board: bool, facts: Machine) -> list[Finding]:
    free_mb = memory_mb(root, "MemAvailable")
    if free_mb is None or facts.memory_mb is None:
        return []
    said = f"{free_mb} of {facts.memory_mb} MB free, {f'{facts.swap_mb} MB of swap' if facts.swap_mb else 'no swap'}"
    if free_mb < LOW_MEMORY_MB:
        desktop = ", or the desktop: sudo systemctl isolate multi-user.target" if board else ""
        return [finding("memory", said, f"close other programs{desktop}")]
    if board and not facts.swap_mb and facts.memory_mb < SMALL_MB:
        swap = "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && sudo swapon /swapfile"
        return [finding("memory", f"{said}: to build an engine takes more than to run it", swap)]
    return [finding("memory", said)]


def _space() -> Finding:
    folder = cache.root()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free_mb = shutil.disk_usage(existing).free >> 20
    if free_mb < LOW_SPACE_MB:
        return Finding(
            state="warning", name="disk", found=f"{free_mb} MB free for the cache at {folder}", fix="free some space, or set MMEDGE_CACHE to another disk"
        )
    return Finding(state="ok", name="disk", found=f"{free_mb} MB free for the cache at {folder}")


def _target(name: str, root: Path) -> Finding:
    try:
        target = Target.load(name)
    except MmedgeError as error:
        return Finding(state="warning", name=f"target {name}", found=error.what, fix=error.fix)
    return Finding(state="ok", name=f"target {name}", found="this machine" if target.is_here(root) else target.summary)
