"""What this machine can do, and what to install for more. Everything is tried, nothing is assumed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from typing import Literal

from pydantic import Field

from mmedge import cache, catalog
from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.need import NotInstalled, have, need
from mmedge.profile.machine import Machine, describe, machine
from mmedge.runner import backend_names, load_backend
from mmedge.target import Target

LOW_SPACE_MB = 2000


class Finding(Document):
    """One thing that was looked at."""

    state: Literal["ok", "missing", "warning"]
    name: str
    found: str
    fix: str = ""


class Diagnosis(Document):
    """Schema ``mmedge.doctor/1``."""

    schema_: Literal["mmedge.doctor/1"] = Field(default="mmedge.doctor/1", alias="schema")
    machine: Machine
    target: str
    """The best target for this machine."""
    findings: tuple[Finding, ...]


def doctor() -> Diagnosis:
    """Look at everything once. Never raises for what is missing: that is a finding."""
    target = Target.detected()
    findings = [
        *(_backend(name, target) for name in dict.fromkeys((*target.backends, *backend_names()))),
        _package("torch", "build", "exports models (bundles may be made on another machine)"),
        _package("transformers", "build", "reads checkpoints (bundles may be made on another machine)"),
        _package("piper", "assistant", "phonemes for the voice"),
        _device("microphone", partial(_sound_device, "input")),
        _device("loudspeaker", partial(_sound_device, "output")),
        _camera(),
        _space(),
        *(_target(name) for name in catalog.names("targets")),
    ]
    return Diagnosis(machine=machine(), target=target.name, findings=tuple(findings))


def table(made: Diagnosis) -> str:
    """The diagnosis as text, a fix under each finding that has one."""
    width = max(len(finding.name) for finding in made.findings)
    lines = [describe(made.machine), f"best target: {made.target}", ""]
    for finding in made.findings:
        lines.append(f"{finding.state:8}{finding.name.ljust(width)}  {finding.found}")
        if finding.fix:
            lines.append(f"{'':8}{'':{width}}  fix: {finding.fix}")
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
        facts = load_backend(name).probe()
    except MmedgeError as error:
        return Finding(state="warning", name=f"backend {name}", found=error.what, fix=error.fix)
    if not facts.available:
        spare = "" if name in target.backends else f"; {target.name} does not use it"
        return Finding(state="missing", name=f"backend {name}", found=facts.reason + spare, fix=facts.fix)
    return Finding(state="ok", name=f"backend {name}", found=f"{facts.version} ({facts.reason}{'; ' if facts.features else ''}{', '.join(facts.features)})")


def _package(module: str, extra: str, purpose: str) -> Finding:
    if have(module):
        return Finding(state="ok", name=module, found=purpose)
    return Finding(state="missing", name=module, found=f"not installed: {purpose}", fix=f'pip install "mmedge[{extra}]"')


def _device(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(state="ok", name=name, found=look())
    except MmedgeError as error:
        return Finding(state="missing", name=name, found=error.what, fix=error.fix)


def _sound_device(kind: str) -> str:
    try:
        devices = need("sounddevice", extra="assistant")
    except NotInstalled:
        raise
    except MmedgeError as error:
        raise MmedgeError(error.what, "install PortAudio: sudo apt install libportaudio2") from error
    try:
        return str(devices.query_devices(kind=kind)["name"])
    except (ValueError, devices.PortAudioError) as error:
        raise MmedgeError(f"there is no sound {kind} device", "plug one in, or use a file: --mic question.wav --speaker answer.wav") from error


def _camera() -> Finding:
    if sys.platform == "linux":
        found = sorted(name for name in os.listdir("/dev") if name.startswith("video") and name[5:].isdigit())
        if not found:
            return Finding(state="missing", name="camera", found="no /dev/video*", fix="plug one in, or use a file: --camera picture.png")
        return Finding(state="ok", name="camera", found=", ".join(f"/dev/{name}" for name in found))
    return Finding(state="warning", name="camera", found=f"not looked for on {sys.platform}")


def _space() -> Finding:
    folder = cache.root()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free_mb = shutil.disk_usage(existing).free >> 20
    if free_mb < LOW_SPACE_MB:
        return Finding(
            state="warning", name="disk", found=f"{free_mb} MB free for the cache at {folder}", fix="free some space, or set MMEDGE_CACHE to another disk"
        )
    return Finding(state="ok", name="disk", found=f"{free_mb} MB free for the cache at {folder}")


def _target(name: str) -> Finding:
    try:
        target = Target.load(name)
    except MmedgeError as error:
        return Finding(state="warning", name=f"target {name}", found=error.what, fix=error.fix)
    return Finding(state="ok", name=f"target {name}", found="this machine" if target.is_here() else target.summary)
