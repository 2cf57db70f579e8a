"""OpenVINO on x86 CPUs: Intel's own, and AMD's with AVX2 or AVX-512."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mmedge.errors import MmedgeError
from mmedge.need import have, need
from mmedge.runner import Candidate, Carried, Copied, Engine, Facts, Graph
from mmedge.tensors import Array, Feeds, TensorSpec, check_feeds

if TYPE_CHECKING:
    from mmedge.target import Target

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""mmedge's names of precisions -> OpenVINO's INFERENCE_PRECISION_HINT. It is always set: left alone, OpenVINO computes in bf16 wherever the CPU can."""

CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16"}


def probe() -> Facts:
    if not have("openvino"):
        return Facts(False, reason="openvino is not installed", fix='pip install "mmedge[openvino]"')
    openvino = need("openvino", extra="openvino")
    core = openvino.Core()
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    features = tuple(name for name, capability in CAPABILITIES.items() if capability in able)
    return Facts(True, version=openvino.__version__, reason=str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip(), features=features)


def candidates(graph: Graph, target: Target) -> list[Candidate]:
    """One candidate per precision that the target allows and this CPU has instructions for."""
    features = probe().features
    return [Candidate(graph, precision) for precision in target.precisions.get("openvino", ("fp32",)) if precision in features]


def compile(candidate: Candidate, target: Target, out: Path) -> Engine:
    """Nothing is stored: compiling in memory takes about a second and depends on the CPU at hand."""
    return Engine(candidate)


def open(engine: Engine, target: Target) -> OpenvinoRunner:
    return OpenvinoRunner(engine.candidate.graph, engine.candidate.precision, target.options.get("openvino", {}))


class OpenvinoRunner:
    """One compiled model with one inference request. Options are OpenVINO's own properties of the CPU device."""

    reuses_outputs = False

    def __init__(self, graph: Graph, precision: str, options: dict[str, Any]) -> None:
        openvino = need("openvino", extra="openvino")
        core = openvino.Core()
        try:
            model = core.read_model(graph.path)
            self._request = core.compile_model(model, "CPU", {**options, "INFERENCE_PRECISION_HINT": HINTS[precision]}).create_infer_request()
        except RuntimeError as error:
            raise MmedgeError(
                f"OpenVINO {openvino.__version__} cannot compile {graph.path.name}: {str(error).strip().splitlines()[-1]}",
                "use another backend for this graph, or export the bundle again",
            ) from error
        # The declared inputs and outputs are the graph's own: OpenVINO keeps the names but not the names of dimensions.
        self.inputs: tuple[TensorSpec, ...] = graph.inputs
        self.outputs: tuple[TensorSpec, ...] = graph.outputs

    def run(self, feeds: Feeds) -> dict[str, Array]:
        # Inputs are read in place; outputs are copied, so that a decoder may feed them back while the next step writes.
        results = self._request.infer(check_feeds(self.inputs, feeds), share_inputs=True, share_outputs=False)
        return {spec.name: results[index] for index, spec in enumerate(self.outputs)}

    def carry(self, pairs: Mapping[str, str], start: Feeds) -> Carried:
        return Copied(self, pairs, start)

    def __enter__(self) -> OpenvinoRunner:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        del self._request
