"""What a machine sees and hears with: cameras by their names, the microphone and the loudspeaker that are used by default."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mmedge.deploy.finding import Finding, finding
from mmedge.errors import MmedgeError
from mmedge.need import NotInstalled, need
from mmedge.profile.machine import listed, number, text

CSI = "vi-output"
"""NVIDIA's driver names a camera on the board's own connector so: ``vi-output, imx219 9-0010``."""
CSI_FIX = "use a USB camera, or a device of v4l2loopback that GStreamer's nvarguscamerasrc fills: --camera /dev/video10"


def devices(root: Path, container: str | None) -> list[Finding]:
    """A finding each for the camera, the microphone and the loudspeaker. ``root`` is where the system's files are."""
    return [
        _device("microphone", partial(_sound_device, "input"), root, container),
        _device("loudspeaker", partial(_sound_device, "output"), root, container),
        _camera(root, container) if sys.platform == "linux" else Finding(state="warning", name="camera", found=f"not looked for on {sys.platform}"),
    ]


def _camera(root: Path, container: str | None) -> Finding:
    found = {path: _name(root, path.name) for path in listed(root / "dev") if path.name.startswith("video") and path.name[5:].isdigit()}
    if not found:
        into = "start the container with --device /dev/video0" if container else "plug one in"
        return Finding(state="missing", name="camera", found="no /dev/video*", fix=f"{into}, or use a file: --camera picture.png")
    # A USB camera has a second device, which delivers no pictures but what the camera says of them.
    seen = {path: name for path, name in found.items() if not number(root / "sys/class/video4linux" / path.name / "index")} or found
    said = ", ".join(f"/dev/{path.name}" + (f" ({name})" if name else "") for path, name in seen.items())
    if closed := [path for path in seen if not os.access(path, os.R_OK | os.W_OK)]:
        give = "start the container with --group-add video" if container else "sudo usermod --append --groups video $USER, then log in again"
        return finding("camera", f"{said}; /dev/{closed[0].name} may not be opened by this user", give)
    if all(name.startswith(CSI) for name in seen.values()):
        return finding("camera", f"{said}: a CSI camera, whose device delivers the sensor's raw data, which is no picture yet", CSI_FIX)
    return finding("camera", said)


def _name(root: Path, device: str) -> str:
    return text(root / "sys/class/video4linux" / device / "name") or ""


def _device(name: str, look: Callable[[], str], root: Path, container: str | None) -> Finding:
    try:
        return Finding(state="ok", name=name, found=look())
    except NotInstalled as error:
        return Finding(state="missing", name=name, found=error.what, fix=error.fix)
    except MmedgeError as error:
        hidden = container and not (root / "dev/snd").exists()
        return Finding(
            state="missing", name=name, found=error.what, fix="start the container with --device /dev/snd --group-add audio" if hidden else error.fix
        )


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
