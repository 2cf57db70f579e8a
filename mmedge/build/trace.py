"""One torch module becomes one ONNX file, proven equal to it."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmedge import runner
from mmedge.build.weights import Weights
from mmedge.errors import GateFailed, MmedgeError, first_line
from mmedge.evaluate.drift import absolute_drift
from mmedge.family import TorchGraph
from mmedge.need import need
from mmedge.tensors import Array, TensorSpec

OPSET = 18
"""The oldest that torch's exporter gives without a conversion: every runtime of every target reads it."""

MAX_IR = 10
"""ONNX Runtime 1.20, the oldest in use on boards, reads up to 10."""


def trace(name: str, graph: TorchGraph, out: Path, *, opset: int = OPSET, weights: Weights | None = None) -> tuple[runner.Graph, dict[str, Array], float]:
    """Write ``graph`` to ``out`` and hold it against the module in ONNX Runtime, at every example.

    Args:
        weights: takes the large tensors; without it they are in ``out`` itself.

    Returns:
        The graph; the module's outputs for the first example (golden); the largest difference as a fraction of the bound.

    Raises:
        MmedgeError: torch cannot export the module, or the weights hold NaN.
        GateFailed: the ONNX graph does not compute what the module computes.
    """
    torch = need("torch", extra="build")
    if bad := [key for key, value in graph.module.state_dict().items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]:
        raise MmedgeError(f"the weights of {name} hold NaN or infinity, first in {bad[0]}", "get an undamaged checkpoint")
    if graph.dynamic and graph.other is None:
        raise ValueError(f"{name} has dynamic axes and no second example")
    module = graph.module.eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = graph.program or torch.onnx.export(
                module,
                tuple(graph.inputs.values()),
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_shapes=_dynamic_shapes(torch, graph),
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # torch.onnx wraps whatever tracing met
            raise MmedgeError(
                f"torch cannot export {name}: {first_line(error)}", "export it on its own to see the whole report: torch.onnx.export(..., report=True)"
            ) from error
    program.model.ir_version = MAX_IR
    for node in program.model.graph.all_nodes():
        # The exporter leaves the whole Python stack of the machine that built it; the module's name is worth keeping.
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)
    if weights is not None:
        weights.take(program.model)
    need("onnx_ir", extra="build").save(program.model, str(out))
    del program
    exported = replace(read_graph(out), weights=weights.path if weights else None)
    _check_names(name, graph, exported)
    return exported, *_parity(name, module, graph, exported)


def read_graph(path: Path) -> runner.Graph:
    """Inputs and outputs of an ONNX file. Raises MmedgeError: not ONNX, invalid, or output names that are not unique."""
    from mmedge.bundle import sha256_of

    onnx = need("onnx", extra="build")
    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(str(path))
    except Exception as error:  # protobuf's DecodeError and onnx's ValidationError share no base but Exception
        raise MmedgeError(f"{path} is not a valid ONNX file: {first_line(error)}", "get an undamaged copy") from error
    produced = Counter(output for node in model.graph.node for output in node.output if output)
    if twice := [output for output, count in produced.items() if count > 1]:
        raise MmedgeError(f"{path} names two outputs {twice[0]}", "export it again: names must be unique")
    weights = {tensor.name for tensor in model.graph.initializer}
    return runner.Graph(
        path,
        sha256_of(path),
        tuple(_spec(onnx, value) for value in model.graph.input if value.name not in weights),
        tuple(_spec(onnx, value) for value in model.graph.output),
    )


def versions(path: Path) -> tuple[int, int]:
    """(opset of the default domain, IR version) of an ONNX file."""
    model = need("onnx", extra="build").load(str(path), load_external_data=False)
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), model.ir_version


def _spec(onnx: Any, value: Any) -> TensorSpec:
    kind = value.type.tensor_type
    dtype = "bfloat16" if kind.elem_type == onnx.TensorProto.BFLOAT16 else onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return TensorSpec(
        value.name,
        dtype,
        tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value.name}_{axis}" for axis, dim in enumerate(kind.shape.dim)),
    )


def _dynamic_shapes(torch: Any, graph: TorchGraph) -> tuple[Any, ...] | None:
    """Named dimensions per input, nested where ``forward`` takes ``*args``: torch follows the signature, not the call."""
    if not graph.dynamic:
        return None
    dims = {name: torch.export.Dim(name) for axes in graph.dynamic.values() for name in axes.values()}
    flat = [{axis: dims[name] for axis, name in graph.dynamic.get(key, {}).items()} or None for key in graph.inputs]
    kinds = [parameter.kind for parameter in inspect.signature(graph.module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return tuple(flat)
    first = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*flat[:first], tuple(flat[first:]))


def _check_names(name: str, graph: TorchGraph, exported: runner.Graph) -> None:
    for side, wanted, found in (("inputs", tuple(graph.inputs), exported.inputs), ("outputs", graph.outputs, exported.outputs)):
        if tuple(spec.name for spec in found) != wanted:
            raise GateFailed(
                f"{name} came out with {side} {', '.join(spec.name for spec in found)} instead of {', '.join(wanted)}",
                "an input that the module ignores is dropped: remove it, or use it",
            )


def _parity(name: str, module: Any, graph: TorchGraph, exported: runner.Graph) -> tuple[dict[str, Array], float]:
    """The module's golden outputs, and the worst difference over all examples as a fraction of the fp32 bound."""
    from mmedge.target import Target

    torch = need("torch", extra="build")
    backend = runner.load_backend("ort")
    golden: dict[str, Array] = {}
    worst = 0.0
    with backend.open(runner.Engine(runner.Candidate(exported, "fp32")), Target.load("cpu")) as opened:
        for example in filter(None, (graph.inputs, graph.other)):
            with torch.no_grad():
                expected = module(*example.values())
            arrays = dict(zip(graph.outputs, ((expected,) if torch.is_tensor(expected) else expected)))
            reference = {key: value.numpy() for key, value in arrays.items()}
            golden = golden or reference
            results = opened.run({key: value.numpy() for key, value in example.items()})
            worst = max([worst, *(absolute_drift(results[key], value) for key, value in reference.items())])
    if not worst <= 1.0:
        raise GateFailed(f"{name} in ONNX differs from the torch module by {worst:.3g} times the bound", "report it with the model: the export is not usable")
    return {key: np.ascontiguousarray(value) for key, value in golden.items()}, worst
