"""ONNX Runtime: runs everywhere, providers are data of the target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mmedge import onnx_file
from mmedge.backends.ort import int8
from mmedge.backends.ort.carry import Bound, cannot_run
from mmedge.backends.ort.profiling import operated
from mmedge.documents import Document, validate
from mmedge.errors import MmedgeError
from mmedge.need import have, need
from mmedge.runner import Candidate, Carried, Engine, Facts, Graph, Operated
from mmedge.tensors import Array, Checks, Feeds, TensorSpec

if TYPE_CHECKING:
    from mmedge.target import Target

ONE_THREAD_BYTES = 4 << 20
"""Graphs below this size run on one thread: waking a second one costs more than it saves (a 2 MB VAD: 0.13 ms a call)."""

BITS = {"int8": 8, "int4": 4}
"""Of a weight, where it is not 32: what a graph computes is as much in fewer bits, so the bound counts weights, not bytes."""

NUMPY_NAMES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "int8": "int8",
    "uint8": "uint8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
    "string": "object",
}


class Options(Document):
    """What a target may set."""

    providers: tuple[str, ...] = Field(default=("CPUExecutionProvider",), min_length=1)
    """In order of preference; those that this build of the runtime lacks are passed over."""
    threads: int = Field(default=0, ge=0)
    """0 lets the runtime choose."""
    fuse_pairs: bool = True
    """Whether operators between pairs of quantizing and back compute with integers. Where scales are in fp16, 1.31.1 then gives nonsense on the CPU."""


def probe(target: Target | None = None) -> Facts:
    if not have("onnxruntime"):
        return Facts(False, reason="onnxruntime is not installed", fix="pip install onnxruntime")
    ort = need("onnxruntime", extra="build")
    return Facts(True, version=ort.__version__, reason=", ".join(ort.get_available_providers()))


def candidates(graph: Graph, target: Target) -> list[Candidate]:
    """fp32; and int8 where the graph has a matrix large enough to be worth it. Making that needs the package onnx: a device may lack it."""
    wanted = target.precisions.get("ort", ("fp32",))
    made = [Candidate(graph, "fp32")] if "fp32" in wanted else []
    if "int8" in wanted and have("onnx") and int8.has_large_matrix(graph):
        made.append(Candidate(graph, "int8", note="weights of the output matrix"))
    return made


def compile(candidate: Candidate, target: Target, out: Path) -> Engine:
    """An ONNX file needs no building: the session optimises it when it is opened. The output matrix of a graph in fp32 in 8 bits is a file of its own."""
    if candidate.precision != "int8" or candidate.graph.precision != "fp32":
        return Engine(candidate)
    path = out / f"{candidate.graph.path.name.partition('.')[0]}-int8.onnx"
    int8.quantize(candidate.graph, path)
    return Engine(candidate, path)


def open(engine: Engine, target: Target) -> OrtRunner:
    return _open(engine, target, None)


def operators(engine: Engine, target: Target, feeds: Feeds, runs: int) -> Operated:
    """By ONNX Runtime's own profiler, in a session of its own with the same options."""
    return operated(lambda prefix: _open(engine, target, prefix), feeds, runs)


def _open(engine: Engine, target: Target, profile: Path | None) -> OrtRunner:
    graph, precision = engine.candidate.graph, engine.candidate.precision
    if graph.precision != "fp32":  # the file has been made in it, whatever else is said of it
        precision = graph.precision
    size_bytes = engine.path.stat().st_size if engine.path else graph.size_bytes
    one_thread = size_bytes * 32 // BITS.get(precision, 32) < ONE_THREAD_BYTES
    return OrtRunner(engine.path or graph.path, options(target), precision=precision, one_thread=one_thread, profile=profile)


def options(target: Target) -> Options:
    return validate(target.options.get("ort", {}), Options, f"target {target.name}: options.ort")


class OrtRunner:
    """One onnxruntime session.

    Args:
        precision: of the file, as it was built.
        profile: how the files of the runtime's profiler begin; without it, it is off.
    """

    reuses_outputs = False

    def __init__(self, path: Path, options: Options, *, precision: str = "fp32", one_thread: bool = False, profile: Path | None = None) -> None:
        ort = need("onnxruntime", extra="build")
        providers = [name for name in options.providers if name in ort.get_available_providers()]
        if not providers:
            raise MmedgeError(
                f"onnxruntime here has none of the providers {', '.join(options.providers)}",
                f"it has {', '.join(ort.get_available_providers())}: change the target's options.ort.providers",
            )
        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        settings.intra_op_num_threads = 1 if one_thread else options.threads
        settings.inter_op_num_threads = 1
        # Within a run, threads spin while they wait for work: to wake them costs a decoder's step a sixth of its time (bench/chat_speed.py). After it
        # they must not: they would keep a core from whatever runs next in the process, and OpenVINO then needs twice its time. One thread waits for nobody,
        # and to stop its spinning takes 4 % of a run of 0.1 ms.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "1")
        settings.add_session_config_entry("session.force_spinning_stop", "0" if one_thread else "1")
        if not options.fuse_pairs:
            settings.add_session_config_entry("session.disable_quant_qdq", "1")
        if profile:
            settings.enable_profiling, settings.profile_file_prefix = True, str(profile)
        try:
            self._session = ort.InferenceSession(str(path), settings, providers=providers)
        except Exception as error:  # onnxruntime raises a class per status, all direct children of Exception
            raise MmedgeError(f"onnxruntime {ort.__version__} cannot load {path.name}: {error}", "export the bundle again, or update onnxruntime") from error
        self.inputs = tuple(_spec(value) for value in self._session.get_inputs())
        self.outputs = tuple(_spec(value) for value in self._session.get_outputs())
        self._names = [spec.name for spec in self.outputs]
        self._check = Checks(self.inputs)
        self._path, self._precision = path, precision

    def run(self, feeds: Feeds) -> dict[str, Array]:
        checked = self._check(feeds)
        try:
            return dict(zip(self._names, self._session.run(self._names, checked)))
        except Exception as error:  # as where it is loaded
            raise cannot_run(self._path, error) from error

    def carry(self, pairs: Mapping[str, str], start: Feeds) -> Carried:
        return Bound(self._session, self._path, self.inputs, self.outputs, pairs, start)

    def executed(self) -> dict[str, str]:
        """Its kernels compute in the types of the file's tensors, so the precision is the file's; what providers do otherwise is among their options.

        A file that is said to hold integers and holds none is fp32.
        """
        settings = self._session.get_session_options()
        threads = settings.intra_op_num_threads
        said = {
            "precision": "fp32" if self._precision in BITS and not onnx_file.holds_integers(self._path) else self._precision,
            "providers": ", ".join(self._session.get_providers()),
            "threads": str(threads) if threads else "one for each physical core, by the runtime",
            "inter-op threads": str(settings.inter_op_num_threads),
            "execution mode": settings.execution_mode.name,
            "graph optimisation": settings.graph_optimization_level.name,
        }
        for name, key in (("spinning within a run", "session.intra_op.allow_spinning"), ("spinning stops after it", "session.force_spinning_stop")):
            said[name] = "yes" if settings.get_session_config_entry(key) == "1" else "no"
        set_ = {provider: options for provider, options in self._session.get_provider_options().items() if options}
        return {**said, **{f"options of {provider}": ", ".join(f"{key}={value}" for key, value in options.items()) for provider, options in set_.items()}}

    def end_profiling(self) -> Path:
        """The file in which the profiler told of every run until now; there are no more after it."""
        return Path(self._session.end_profiling())

    def __enter__(self) -> OrtRunner:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        del self._session


def _spec(value: Any) -> TensorSpec:
    dtype = NUMPY_NAMES[value.type.removeprefix("tensor(").removesuffix(")")]
    return TensorSpec(value.name, dtype, tuple(size if isinstance(size, int) else str(size) for size in value.shape))
