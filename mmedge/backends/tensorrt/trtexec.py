"""Builds engines with NVIDIA's program ``trtexec``, for boards that have it but not TensorRT's Python module. It was never run by mmedge so far.

What is known of it is from its published source and from the output that its users report: its version stands in the first line of ``--help``, errors are
lines with ``[E]``, and the layers of an engine are written as the inspector tells them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmedge.backends.tensorrt import flags, inspector
from mmedge.backends.tensorrt.flags import Shapes
from mmedge.backends.tensorrt.flavour import flavour
from mmedge.backends.tensorrt.versions import row_for
from mmedge.documents import replace_file
from mmedge.errors import MmedgeError
from mmedge.runner import Graph
from mmedge.target import Precision, Target

NAME, PLACE = "trtexec", Path("/usr/src/tensorrt/bin/trtexec")
"""Where JetPack's package puts it, which is in nobody's PATH."""
BANNER = re.compile(r"\[TensorRT v(\d+)\](?: \[b(\d+)\])?")
LIMIT_S, HELP_S, GRACE_S = 3 * 3600.0, 60.0, 5.0
"""For a build (on the smallest board a large graph takes the better part of an hour), for ``--help``, and for a program that was asked to end."""


@dataclass(frozen=True, slots=True)
class Made:
    """An engine that ``trtexec`` has written, never opened yet."""

    path: Path
    seconds: float
    tensorrt: str
    """The version of TensorRT that built it."""
    layers: Counter[str]
    """What its layers compute in: precision -> number. Empty where it does not tell, as with dynamic shapes."""
    arguments: tuple[str, ...]


def asked(target: Target) -> Target:
    """The same target with its engines built by ``trtexec``. Raises MmedgeError: it has none of TensorRT, or they are not built on this machine."""
    if "tensorrt" not in target.backends or flavour(target) != "tensorrt":
        raise MmedgeError(f"--trtexec builds engines of TensorRT, and {target.name} has none", "leave it out, or name a target with TensorRT: mmedge targets")
    if target.build_on == "device" and not target.is_here():
        where = "the bundle's plan has the commands for the board" if target.boards else "run the command on the machine with the GPU"
        raise MmedgeError(f"--trtexec builds engines here, and this machine is no {target.name}", f"leave it out: {where}")
    own = {**target.options.get("tensorrt", {}), "trtexec": True}
    return target.model_copy(update={"options": {**target.options, "tensorrt": own}})


def find() -> Path:
    """The program: what ``TRTEXEC`` names, else in the PATH, else where JetPack puts it. Raises MmedgeError: it is nowhere."""
    named = os.environ.get("TRTEXEC")
    found = shutil.which(named or NAME) or (None if named else shutil.which(PLACE))
    if found is None:
        where = f"TRTEXEC names {named}, which" if named else f"{NAME} is not in the PATH, and {PLACE}"
        raise MmedgeError(f"{where} is no program here", "on a Jetson: sudo apt install libnvinfer-bin; elsewhere set TRTEXEC to where it is")
    return Path(found)


def version() -> str:
    """Of the TensorRT that it builds with, such as ``10.16.2.10``, or ``10.3.0`` where it does not tell its build. Raises MmedgeError."""
    program = find()
    status, told = _run([str(program), "--help"], HELP_S)
    banner = BANNER.search(told)
    if banner is None:
        raise MmedgeError(f"{program} does not say of which TensorRT it is (status {status}): {_first(told)}", "set TRTEXEC to TensorRT's own program")
    number = int(banner[1])
    return ".".join(filter(None, (f"{number // 10000}.{number // 100 % 100}.{number % 100}", banner[2])))


def build(
    graph: Graph,
    precision: Precision,
    out: Path,
    *,
    shapes: Shapes,
    workspace_mb: int | None = None,
    timing_cache: Path | None = None,
    tensorrt: str | None = None,
) -> Made:
    """Build an engine into the file ``out``, which is there whole or not at all. Ctrl-C ends the program too.

    Args:
        graph: in ``precision`` already.
        shapes: for one optimization profile.
        workspace_mb: the memory that a layer may use beside its tensors; None: no limit.
        timing_cache: file of what was measured before, read and replaced.
        tensorrt: its version where it is known; None: it is asked.

    Raises:
        MmedgeError: there is no such program, it fails in every way of asking for the precision, or the engine has none of it.
    """
    program, tensorrt, failed = find(), tensorrt or version(), []
    begin_s = time.monotonic()
    for typing in flags.typings(row_for(tensorrt), precision):
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".trtexec-") as folder:
            engine, layers, timing = (Path(folder) / name for name in ("engine.plan", "layers.json", "timing"))
            if timing_cache and timing_cache.is_file():
                shutil.copyfile(timing_cache, timing)
            asked = (f"--onnx={graph.path}", *flags.profile(shapes), *flags.options(precision, workspace_mb), *typing)
            files = (f"--timingCacheFile={timing}", f"--exportLayerInfo={layers}", "--skipInference", f"--saveEngine={engine}")
            status, told = _run([str(program), *asked, *files], LIMIT_S)
            if status or not engine.is_file() or not engine.stat().st_size:
                failed.append(f"{' '.join(typing) or 'no precision flag'}: {_why(status, told)}")
                continue
            found = _types(layers)
            _holds(graph, precision, found)
            if timing_cache and timing.is_file():
                replace_file(timing_cache, timing.read_bytes())  # it may lie on another disk
            os.replace(engine, out)
            return Made(out, time.monotonic() - begin_s, tensorrt, found, (*asked, *files))
    raise MmedgeError(
        f"trtexec of TensorRT {tensorrt} builds no engine of {graph.path.name}: {'; '.join(failed)}",
        "place this graph on another backend; where memory was short, close other programs or add swap",
    )


def _types(path: Path) -> Counter[str]:
    if not path.is_file():
        return Counter()
    return Counter(layer.type for layer in inspector.layers(path.read_text(encoding="utf-8", errors="replace")) if layer.type)


def _holds(graph: Graph, precision: Precision, found: Counter[str]) -> None:
    if found and precision != "fp32" and not found[precision]:
        made = ", ".join(f"{count} in {name}" for name, count in found.most_common())
        raise MmedgeError(
            f"{graph.path.name} was asked for in {precision}, but none of the engine's layers computes in {precision}: {made}",
            "export the bundle again for this target",
        )


def _why(status: int, told: str) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        return f"it was killed by {name}{': most likely too little memory' if -status == signal.SIGKILL else ''}"
    return f"status {status}: {_first(told)}" if status else f"it wrote no engine: {_first(told)}"


def _first(told: str) -> str:
    """Its first error, without the time: what follows comes of it."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    errors = [line.partition("[E]")[2].strip() for line in lines if "[E]" in line]
    return next(iter([*errors, *lines[-1:]]), "it says nothing")


def _run(command: Sequence[str], limit_s: float) -> tuple[int, str]:
    """(status, all that it says). Raises MmedgeError: it does not start, or takes longer."""
    with _started(command) as process:
        try:
            told, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise MmedgeError(
                f"{command[0]} did not end within {limit_s:.0f} s", "see what else the board is doing: mmedge doctor; then run it again"
            ) from error
    return process.returncode, told.decode(errors="replace")


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The program and what it starts: none of it outlives the block."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as error:
        raise MmedgeError(f"{command[0]} cannot be started: {error.strerror}", "set TRTEXEC to TensorRT's own program") from error
    try:
        yield process
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    for asked, grace_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):  # all of them have ended
            os.killpg(process.pid, asked)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=grace_s)
            return
