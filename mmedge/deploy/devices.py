"""What a machine sees and hears with: cameras by their names, the microphone and the loudspeaker that are used by default."""

from __future__ import annotations

import os
import sys
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
        _sound("microphone", "input", container is not None and not (root / "dev/snd").exists()),
        _sound("loudspeaker", "output", container is not None and not (root / "dev/snd").exists()),
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


def _sound(name: str, kind: str, hidden: bool) -> Finding:
    """``hidden``: a container shows none of its board's."""
    try:
        devices = need("sounddevice", extra="assistant")
        return finding(name, str(devices.query_devices(kind=kind)["name"]))
    except NotInstalled as error:
        return finding(name, error.what, error.fix, "missing")
    except MmedgeError as error:
        return finding(name, error.what, "install PortAudio: sudo apt install libportaudio2", "missing")
    except (ValueError, OSError, RuntimeError, devices.PortAudioError):
        start = "start the container with --device /dev/snd --group-add audio" if hidden else "plug one in"
        return finding(name, f"there is no sound {kind} device", f"{start}, or use a file: --mic question.wav --speaker answer.wav", "missing")
