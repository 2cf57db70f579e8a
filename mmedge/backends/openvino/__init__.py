"""OpenVINO on x86 CPUs: Intel's own, and AMD's with AVX2 or AVX-512."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mmedge.backends.openvino.carry import Swapped, cannot_run
from mmedge.backends.openvino.lend import Requests
from mmedge.backends.openvino.profiling import executed, operated
from mmedge.errors import MmedgeError
from mmedge.need import have, need
from mmedge.runner import Candidate, Carried, Engine, Facts, Graph, Operated
from mmedge.tensors import Array, Checks, Feeds, TensorSpec

if TYPE_CHECKING:
    from mmedge.target import Target

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32", "int4": "f32"}
"""mmedge's names of precisions -> OpenVINO's INFERENCE_PRECISION_HINT, which is about what the graph itself does not make integers.

It is always set: left alone, OpenVINO computes in bf16 wherever the CPU can.
"""

IR = ".xml"
"""How a graph in OpenVINO's own format ends; its weights lie in a file of their own."""

CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16", "int8": "INT8", "int4": "INT8"}
"""mmedge's names of precisions -> OpenVINO's of what a CPU must be able to do for them."""


INTEGERS = ("int8", "int4")


def probe(target: Target | None = None) -> Facts:
    if not have("openvino"):
        return Facts(False, reason="openvino is not installed", fix='pip install "mmedge[openvino]"')
    openvino = need("openvino", extra="openvino")
    core = openvino.Core()
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    features = tuple(name for name, capability in CAPABILITIES.items() if capability in able)
    return Facts(True, version=openvino.__version__, reason=str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip(), features=features)


def options(target: Target) -> dict[str, Any]:
    """OpenVINO's own, which only it knows."""
    return target.options.get("openvino", {})


def candidates(graph: Graph, target: Target) -> list[Candidate]:
    """One candidate per precision that the target allows and this CPU has instructions for. No hint makes integers of a graph in fp32."""
    features = [name for name in probe().features if name not in INTEGERS]
    return [Candidate(graph, precision) for precision in target.precisions.get("openvino", ("fp32",)) if precision in features]


def compile(candidate: Candidate, target: Target, out: Path) -> Engine:
    """Nothing is stored: compiling in memory takes about a second and depends on the CPU at hand."""
    return Engine(candidate)


def open(engine: Engine, target: Target) -> OpenvinoRunner:
    return OpenvinoRunner(engine.candidate.graph, engine.candidate.precision, options(target))


def operators(engine: Engine, target: Target, feeds: Feeds, runs: int) -> Operated:
    """By OpenVINO's own counters, in a model compiled for this with the same options."""
    counted = {**options(target), "PERF_COUNT": True}
    with OpenvinoRunner(engine.candidate.graph, engine.candidate.precision, counted) as runner:
        return operated(runner, feeds, runs)


class OpenvinoRunner:
    """One compiled model, with inference requests for plain runs and two for carried ones. Options are OpenVINO's own properties of the CPU device."""

    reuses_outputs = False

    def __init__(self, graph: Graph, precision: str, options: dict[str, Any]) -> None:
        openvino = need("openvino", extra="openvino")
        core = openvino.Core()
        try:
            model = core.read_model(graph.path, graph.weights) if graph.path.suffix == IR else core.read_model(graph.path)
            self._compiled = core.compile_model(model, "CPU", {**options, "INFERENCE_PRECISION_HINT": HINTS[precision]})
        except RuntimeError as error:
            raise MmedgeError(
                f"OpenVINO {openvino.__version__} cannot compile {graph.path.name}: {str(error).strip().splitlines()[-1]}",
                "use another backend for this graph, or export the bundle again",
            ) from error
        # The declared inputs and outputs are the graph's own: OpenVINO keeps the names but not the names of dimensions.
        self.inputs: tuple[TensorSpec, ...] = graph.inputs
        self.outputs: tuple[TensorSpec, ...] = graph.outputs
        self._path = graph.path
        self._tensor, self._stored = openvino.Tensor, graph.precision
        self._check = Checks(graph.inputs)
        self._requests: Any = Requests(self._compiled.create_infer_request)
        self._turns: tuple[Any, Any] | None = None

    def run(self, feeds: Feeds) -> dict[str, Array]:
        # Inputs are read in place, and outputs handed out where they lie: infer() itself would copy both. Handed to infer() as a dict, feeds cost a small
        # graph 20 us more; an array that the request reads already is not handed to it again.
        request, checked = self._requests.free(), self._check(feeds)
        for name, array in checked.items():
            read, shape = request.read.get(name, (None, ()))
            if read is not array or shape != array.shape:
                request.own.set_tensor(name, self._tensor(array, shared_memory=array.flags.writeable))
        request.read = {name: (array, array.shape) for name, array in checked.items() if array.flags.writeable}  # its tensors use their memory
        try:
            outputs = request.own.infer(share_outputs=True).to_tuple()
        except RuntimeError as error:
            raise cannot_run(self._path, error) from error
        return {spec.name: array for spec, array in zip(self.outputs, request.outputs(outputs))}

    def carry(self, pairs: Mapping[str, str], start: Feeds) -> Carried:
        self._turns = self._turns or (self._compiled.create_infer_request(), self._compiled.create_infer_request())
        return Swapped(self._turns, self, self._path, pairs, start)

    def executed(self) -> dict[str, str]:
        return executed(self._compiled, self._stored)

    def counters(self) -> tuple[Any, Any]:
        """(times of the operators, the compiled graph): where PERF_COUNT is on, once it ran."""
        return self._requests.last.own.get_profiling_info(), self._compiled.get_runtime_model()

    def __enter__(self) -> OpenvinoRunner:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._requests = self._turns = self._compiled = None
