"""From a graph to an engine, by NVIDIA's builder."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmedge.backends.tensorrt import flavour as flavours
from mmedge.backends.tensorrt.flags import Shapes
from mmedge.backends.tensorrt.flavour import Flavour
from mmedge.backends.tensorrt.network import Parsed, parse, types
from mmedge.backends.tensorrt.progress import Progress, Steps
from mmedge.backends.tensorrt.versions import Rule, row_for
from mmedge.documents import replace_file
from mmedge.errors import MmedgeError
from mmedge.runner import Graph
from mmedge.target import Precision

WEAK: dict[Precision, tuple[str, ...]] = {"fp16": ("FP16",), "bf16": ("BF16",), "int8": ("INT8", "FP16"), "int4": ("INT4", "FP16")}
"""Precision -> the builder's flags of weak typing."""

NO_DRIVER = "Cuda Runtime"
"""What TensorRT-RTX says of a machine without a driver while it builds there, which it can."""

PATIENCE_S, LOOK_S = 30.0, 0.1
"""How long a build that was told to stop is waited for; how often a build is looked at."""


class Refused(MmedgeError):
    """The parser does not take the graph."""

    def __init__(self, parsed: Parsed) -> None:
        self.refusals = parsed.refusals
        more = f"; and {len(self.refusals) - 1} more" if len(self.refusals) > 1 else ""
        super().__init__(
            f"{flavours.title(parsed.flavour)} does not take {parsed.graph.path.name}: {self.refusals[0]}{more}",
            "place this graph on another backend, or change its model",
        )


class NotInPrecision(MmedgeError):
    """The graph does not compute in the precision that it was asked for in, whatever builds it."""


@dataclass(frozen=True, slots=True)
class Built:
    """An engine as it is written to a file, never opened yet."""

    engine: Any
    """Bytes, as a buffer."""
    size_bytes: int
    seconds: float
    layers: Counter[str]
    """What the network that it was built of computes in: precision -> number of layers."""
    typing: str
    """How the precision was asked for: ``strongly typed``."""
    log: tuple[str, ...]
    """The builder's warnings."""


@dataclass(frozen=True, slots=True)
class Typing:
    """One way of asking for a precision."""

    strongly: bool
    flags: tuple[str, ...] = ()
    """Names of the builder's flags."""

    def __str__(self) -> str:
        return "strongly typed" if self.strongly else f"weakly typed with {' and '.join(self.flags)}" if self.flags else "as the graph is"


def typings(rule: Rule, precision: Precision) -> tuple[Typing, ...]:
    """The ways of asking for a precision, in the order in which they are tried. Strong and weak typing are never mixed."""
    if rule != "strong-or-weak":
        return (Typing(rule == "strong"),)
    flags = WEAK.get(precision, ())
    return (Typing(True), Typing(False, flags)) if flags else (Typing(False),)


def rule_of(flavour: Flavour) -> Rule:
    """How what is installed is asked for a precision. A version that the table does not know is asked strongly typed, which no version since 10 refuses."""
    if flavour == "rtx":
        return "unconditional"
    row = row_for(str(flavours.version(flavour)))
    return row.rule if row else "strong"


def profile_shapes(graph: Graph) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Input with dynamic dimensions -> its least, likeliest and largest shape, from the graph's ranges.

    Raises:
        MmedgeError: a dynamic dimension has no range, or one that is out of order.
    """
    shapes = {}
    for spec in graph.inputs:
        if all(isinstance(size, int) for size in spec.shape):
            continue
        sizes = [(size,) * 3 if isinstance(size, int) else _range(graph, spec.name, size) for size in spec.shape]
        shapes[spec.name] = tuple(zip(*sizes))
    return shapes


def _range(graph: Graph, name: str, dimension: str) -> tuple[int, int, int]:
    if dimension not in graph.ranges:
        raise MmedgeError(
            f"{graph.path.name}: nothing says how large the dimension {dimension!r} of its input {name} may be, and an engine must know",
            "export the bundle again with this version of mmedge",
        )
    least, likeliest, largest = graph.ranges[dimension]
    if not 0 <= least <= likeliest <= largest or not largest:
        raise MmedgeError(
            f"{graph.path.name}: the range of the dimension {dimension!r} is {least}, {likeliest}, {largest}", "it must rise from the least to the largest size"
        )
    return least, likeliest, largest


def build(
    graph: Graph,
    precision: Precision,
    *,
    flavour: Flavour,
    shapes: Shapes,
    capability: str | None = None,
    workspace_mb: int | None = None,
    timing_cache: Path | None = None,
    progress: Progress | None = None,
) -> Built:
    """Build an engine for one optimization profile. Ctrl-C stops it.

    Args:
        graph: in ``precision`` already, which is held to what the parser makes of it.
        shapes: as ``profile_shapes`` gives them.
        capability: what to build for, ``8.6``; only TensorRT-RTX can choose. None: what TensorRT-RTX takes by itself.
        workspace_mb: the memory that a layer may use beside its tensors; None: no limit.
        timing_cache: file of what the builder measured before, read and written again; TensorRT-RTX has none.
        progress: called from this thread; what it prints goes to stderr.

    Raises:
        Refused: the parser does not take the graph.
        NotInPrecision: no layer of it computes in ``precision``.
        MmedgeError: the module is missing or does not start, or no engine comes of it.
    """
    begin_s = time.perf_counter()
    failed: list[str] = []
    for typing in typings(rule_of(flavour), precision):
        parsed = parse(graph, flavour, strongly_typed=typing.strongly)
        if parsed.refusals:
            raise Refused(parsed)
        layers = types(parsed.network)
        if precision != "fp32" and not layers[precision]:
            made = ", ".join(f"{count} in {kind}" for kind, count in layers.most_common()) or "none"
            raise NotInPrecision(
                f"{graph.path.name} was asked for in {precision}, but none of its layers computes in {precision}: {made}",
                "export the bundle again for this target",
            )
        config, keep = _config(parsed, precision, typing, shapes, capability, workspace_mb)
        cache = _timing_cache(config, timing_cache) if timing_cache and flavour == "tensorrt" else None
        engine, warnings, errors = _run(parsed, config, progress)
        del keep
        if engine is not None and engine.nbytes:
            if cache is not None and timing_cache:
                with contextlib.suppress(MmedgeError):  # only the next build would have been faster
                    replace_file(timing_cache, bytes(memoryview(config.get_timing_cache().serialize())))
            return Built(engine, engine.nbytes, time.perf_counter() - begin_s, layers, str(typing), warnings)
        failed.append(f"{typing}: {errors[-1] if errors else 'no engine, and no reason given'}")
    raise MmedgeError(
        f"{flavours.title(flavour)} builds no engine of {graph.path.name}: {'; '.join(failed)}",
        "place this graph on another backend; if it should be built, report it",
    )


def _config(parsed: Parsed, precision: Precision, typing: Typing, shapes: Shapes, capability: str | None, workspace_mb: int | None) -> tuple[Any, Any]:
    """(the builder's configuration, what must live as long)."""
    flavour = parsed.flavour
    trt = flavours.load(flavour)
    config = parsed.builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector cannot tell what the engine computes in
    for name in typing.flags:
        if not hasattr(trt.BuilderFlag, name):
            raise MmedgeError(f"{flavours.title(flavour)} has no {precision}: its builder knows no {name}", "choose another precision in the target")
        config.set_flag(getattr(trt.BuilderFlag, name))
    if precision == "fp32":  # on by default; its 10 bits of mantissa are those of fp16, and outside the bound of fp32
        config.clear_flag(trt.BuilderFlag.TF32)
    if workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    if capability is not None and flavour == "rtx":
        config.num_compute_capabilities = 1
        config.set_compute_capability(_capability(trt, capability), 0)
    profile = parsed.builder.create_optimization_profile()
    for name, sides in shapes.items():
        profile.set_shape(name, *sides)
    if shapes and config.add_optimization_profile(profile) < 0:
        raise MmedgeError(
            f"TensorRT takes no profile of {parsed.graph.path.name} with the shapes {_text(shapes)}", "they must rise from the least to the largest"
        )
    return config, profile


def _text(shapes: Shapes) -> str:
    return ", ".join(f"{name} {' '.join('x'.join(map(str, one)) for one in sides)}" for name, sides in shapes.items())


def _capability(trt: Any, capability: str) -> Any:
    known = {f"{name[2:-1]}.{name[-1]}": name for name in dir(trt.ComputeCapability) if name.startswith("SM")}
    if capability not in known:
        least_first = sorted(known, key=lambda one: tuple(map(int, one.split("."))))
        raise MmedgeError(
            f"TensorRT-RTX {trt.__version__} builds nothing for compute capability {capability}: it knows {', '.join(least_first)}",
            "choose another target: mmedge targets",
        )
    return getattr(trt.ComputeCapability, known[capability])


def _timing_cache(config: Any, path: Path) -> Any:
    """Set what was measured before, if it is there and of this builder and device; else an empty one."""
    with contextlib.suppress(OSError):
        before = config.create_timing_cache(path.read_bytes())
        if before is not None and config.set_timing_cache(before, ignore_mismatch=False):
            return before
    empty = config.create_timing_cache(b"")
    config.set_timing_cache(empty, ignore_mismatch=False)
    return empty


def _run(parsed: Parsed, config: Any, progress: Progress | None) -> tuple[Any, tuple[str, ...], list[str]]:
    """(engine or None, warnings, errors). The builder works in a thread of its own, so that this one hears Ctrl-C."""
    flavour = parsed.flavour
    log, steps = flavours.log(flavour), Steps()
    config.progress_monitor = monitor = steps.monitor(flavours.load(flavour))
    log.clear()
    made: list[Any] = []
    ended = threading.Event()  # a join() that Ctrl-C interrupts takes the thread for ended in some versions of Python (bpo-45274)
    with _stdout_aside() as said:
        threading.Thread(target=_work, args=(parsed, config, monitor, made, ended), daemon=True).start()
        try:
            while not ended.wait(LOOK_S):
                if progress and (now := steps.now()):
                    progress(*now)
        except BaseException:
            steps.stop()
            ended.wait(PATIENCE_S)
            raise
    if isinstance(made[0], Exception):
        raise made[0]
    errors = [one for one in log.errors if flavour != "rtx" or NO_DRIVER not in one]
    return made[0], (*log.warnings, *said), errors


@contextlib.contextmanager
def _stdout_aside() -> Iterator[list[str]]:
    """NVIDIA's compiler writes warnings to the process's own stdout, where one document of --json is expected. Yields what has its lines afterwards."""
    said: list[str] = []
    with tempfile.TemporaryFile() as aside:
        try:
            sys.stdout.flush()
            kept = os.dup(1)
            os.dup2(aside.fileno(), 1)
        except (OSError, ValueError):  # closed: nothing can be written to it either
            yield said
            return
        try:
            yield said
        finally:
            ctypes.CDLL(None).fflush(None)  # what it wrote may still lie in C's buffer
            os.dup2(kept, 1)
            os.close(kept)
            aside.seek(0)
            said += aside.read().decode(errors="replace").splitlines()


def _work(parsed: Parsed, config: Any, monitor: Any, made: list[Any], ended: threading.Event) -> None:
    """Holds everything that the builder uses for as long as it works."""
    try:
        made.append(parsed.builder.build_serialized_network(parsed.network, config))
    except Exception as error:
        made.append(error)
    config.progress_monitor = None
    del monitor
    ended.set()
