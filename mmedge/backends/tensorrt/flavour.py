"""Which of NVIDIA's two modules a target takes, TensorRT or TensorRT for RTX, and loading it: the same interface, but for what is noted where it differs."""

from __future__ import annotations

import functools
import platform
import types
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import model_validator

from mmedge.backends.tensorrt.versions import RTX_CAPABILITIES
from mmedge.documents import Document, validate
from mmedge.errors import MmedgeError
from mmedge.need import NotInstalled, need

if TYPE_CHECKING:
    from mmedge.target import Target

Flavour = Literal["tensorrt", "rtx"]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)
NAMES: dict[Flavour, str] = {"tensorrt": "TensorRT", "rtx": "TensorRT-RTX"}

INSTALL: dict[Flavour, str] = {
    "tensorrt": "on a Jetson: sudo apt install python3-libnvinfer, and an environment made with --system-site-packages; on a PC: pip install tensorrt",
    "rtx": 'pip install "mmedge[rtx]"',
}

DLA = "libnvdla_compiler"
NO_DLA = "on the board itself, outside the container: sudo apt install nvidia-l4t-dla-compiler; then start the container with --runtime nvidia"
"""TensorRT of JetPack 6 loads that library in any case; a container has it from the board (NVIDIA/nvidia-container-runtime issue 181)."""

OLDEST = "10.0"
"""Networks before it are of another kind (implicit batch)."""


class Options(Document):
    """What a target may set."""

    flavour: Flavour = "tensorrt"
    trtexec: bool = False
    """Build with NVIDIA's program, not with the Python module."""

    @model_validator(mode="after")
    def _builds_its_own(self) -> Options:
        if self.trtexec and self.flavour == "rtx":
            raise ValueError("trtexec builds engines of TensorRT, and none of TensorRT-RTX")
        return self


def options(target: Target) -> Options:
    """Raises MmedgeError: the target's options are wrong, or it asks TensorRT-RTX for a GPU that it builds nothing for."""
    found = validate(target.options.get("tensorrt", {}), Options, f"target {target.name}: options.tensorrt")
    unknown = [one for one in target.compute_capability if one not in RTX_CAPABILITIES] if found.flavour == "rtx" else []
    if unknown:
        raise MmedgeError(
            f"target {target.name}: TensorRT-RTX builds nothing for compute capability {', '.join(unknown)}",
            f'name some of {", ".join(RTX_CAPABILITIES)} in compute_capability, or leave flavour = "rtx" out',
        )
    return found


def flavour(target: Target) -> Flavour:
    """Which module builds and runs the engines of a target. Raises MmedgeError: the target's options are wrong."""
    return options(target).flavour


def load(flavour: Flavour) -> Any:
    """The Python module. Needs no GPU yet.

    Raises:
        NotInstalled: it is not there.
        MmedgeError: it is there, but broken, or too old.
    """
    if flavour == "rtx" and platform.machine() not in ("x86_64", "AMD64"):
        raise NotInstalled(f"TensorRT-RTX is made for x86-64, this machine is {platform.machine()}", "choose another target: mmedge targets")
    try:
        if flavour == "rtx":
            need("tensorrt_rtx_libs", extra="rtx")  # its shared libraries, which the bindings look for
            return need("tensorrt_rtx_bindings", extra="rtx")
        trt = need("tensorrt", extra="rtx")
    except NotInstalled as error:
        raise NotInstalled(f"{NAMES[flavour]} is not installed", INSTALL[flavour]) from error
    except MmedgeError as error:
        raise MmedgeError(error.what, NO_DLA if DLA in error.what else INSTALL[flavour]) from error
    if int(trt.__version__.partition(".")[0]) < int(OLDEST.partition(".")[0]):
        raise MmedgeError(f"TensorRT {trt.__version__} is too old: mmedge builds with {OLDEST} or newer", "update it: on a Jetson with JetPack 6 or newer")
    return trt


def version(flavour: Flavour) -> str | None:
    """Of what is installed; None where it is not. Raises MmedgeError as ``load`` does for what is broken."""
    try:
        return str(load(flavour).__version__)
    except NotInstalled:
        return None


def title(flavour: Flavour) -> str:
    """Name and version of what is installed, as a user knows it: ``TensorRT-RTX 1.7.1.116``."""
    return f"{NAMES[flavour]} {load(flavour).__version__}"


def log(flavour: Flavour) -> Any:
    """The logger of this process: TensorRT keeps the first that it is given for good, so builder, parser and runtime share it.

    Returns:
        An ``ILogger`` with ``errors`` and ``warnings``, lists of messages, oldest first; ``clear()`` them before a call whose messages matter.
    """
    return _log(load(flavour))


@functools.cache
def _log(trt: Any) -> Any:
    errors: list[str] = []
    warnings: list[str] = []

    def note(_: Any, severity: Any, message: str) -> None:
        if severity <= trt.ILogger.ERROR:
            errors.append(message)
        elif severity == trt.ILogger.WARNING:
            warnings.append(message)

    made: Any = types.new_class("Log", (trt.ILogger,), exec_body=lambda body: body.update(log=note))()
    made.errors, made.warnings = errors, warnings

    def clear() -> None:
        errors.clear()
        warnings.clear()

    made.clear = clear
    return made


def builder(flavour: Flavour) -> Any:
    """A builder. Raises MmedgeError: it does not start, which TensorRT's does only with a GPU and its driver."""
    trt, said = load(flavour), log(flavour)
    said.clear()
    try:
        return trt.Builder(said)
    except (TypeError, RuntimeError) as error:
        why = said.errors[-1] if said.errors else error
        raise MmedgeError(f"{title(flavour)} cannot start: {why}", "it builds only with an NVIDIA GPU and its driver: mmedge doctor") from error
