"""A family's graphs, in every form that the targets ask for, become the bundle's ONNX files with golden data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path, PurePosixPath

from mmedge import manifest, runner
from mmedge.build import golden
from mmedge.build.trace import OPSET, read_graph, trace, versions
from mmedge.build.weights import LARGE_BYTES, Weights, external_files, rename, weighs
from mmedge.bundle import Bundle
from mmedge.deploy.ranges import Range, ranges_for
from mmedge.family import OnnxGraph, TorchGraph
from mmedge.need import need
from mmedge.target import TENSOR_SCATTER_OPSET, Scatter
from mmedge.tensors import Array


@dataclass
class Written:
    """What writing a model's graphs gave."""

    entries: dict[str, manifest.Graph] = field(default_factory=dict)
    recorded: dict[str, tuple[dict[str, Array], dict[str, Array]]] = field(default_factory=dict)
    """Golden feeds and outputs by graph."""
    gates: list[manifest.Gate] = field(default_factory=list)


@dataclass
class _Made:
    """A graph in the scratch folder."""

    graph: runner.Graph
    reference: str
    parity: float | None = None


def write_graphs(
    bundle: Bundle, role: str, graphs: dict[str, TorchGraph | OnnxGraph], scatters: set[Scatter], scratch: Path, ranges: Mapping[str, Range]
) -> Written:
    """Trace, prove and store every graph; decoders also in the fixed forms of ``scatters``.

    Args:
        ranges: what the family states of dynamic dimensions.

    Raises:
        MmedgeError: torch cannot export a module, or a file is no ONNX.
        GateFailed: a graph does not compute what its module computes.
    """
    forms: list[tuple[str, TorchGraph | OnnxGraph, int]] = [(name, source, OPSET) for name, source in graphs.items()]
    for scatter in sorted(scatters):
        opset = TENSOR_SCATTER_OPSET if scatter == "TensorScatter" else OPSET
        forms += [
            (manifest.form_name(name, scatter), source.fixed(scatter), opset)
            for name, source in graphs.items()
            if isinstance(source, TorchGraph) and source.fixed
        ]
    apart = len(forms) > len(graphs) or weighs(graphs.values()) > LARGE_BYTES or any(_has_files(source) for source in graphs.values())
    written, made = Written(), dict[str, _Made]()
    with Weights(scratch / f"{role}.weights.bin") as weights:
        for name, source, opset in forms:
            path = scratch / f"{role}.{name}.onnx"
            if isinstance(source, TorchGraph):
                made[name] = _traced(role, name, source, path, opset, weights if apart else None, written)
            else:
                made[name] = _copied(name, source, path, weights if apart else None, written)
    file = bundle.add(role, "weights.bin", weights.path, move=True) if weights.path.stat().st_size else None
    base = {manifest.form_name(name, scatter): name for name in graphs for scatter in (None, *scatters)}
    for name, one in made.items():
        golden_shapes = {key: array.shape for key, array in written.recorded[name][0].items()}
        written.entries[name] = _entry(bundle, role, name, one, file, ranges_for(base[name], one.graph.inputs, golden_shapes, ranges))
    return written


def _traced(role: str, name: str, source: TorchGraph, path: Path, opset: int, weights: Weights | None, written: Written) -> _Made:
    graph, outputs, parity = trace(f"{role}/{name}", source, path, opset=opset, weights=weights)
    written.recorded[name] = {key: value.numpy() for key, value in source.inputs.items()}, outputs
    written.gates.append(
        manifest.Gate(
            name=f"parity {role}/{name}",
            passed=True,
            value=round(parity, 4),
            bound=1.0,
            note="difference to the torch module, as a fraction of 1e-4 x max(1, max|ref|)",
        )
    )
    return _Made(graph, f"torch {metadata.version('torch')}", parity)


def _copied(name: str, source: OnnxGraph, path: Path, weights: Weights | None, written: Written) -> _Made:
    if isinstance(source.model, bytes) or (weights is None and isinstance(source.model, Path)):
        path.write_bytes(source.model if isinstance(source.model, bytes) else source.model.read_bytes())
    else:
        ir = need("onnx_ir", extra="build")
        model = source.model
        if isinstance(model, Path):
            read_graph(model)
            model = ir.load(str(model))
        if weights is not None:
            weights.take(model)
        ir.save(model, str(path))
    graph = replace(read_graph(path), weights=weights.path if weights else None)
    outputs, reference = golden.reference_outputs(graph, source)
    written.recorded[name] = dict(source.feeds), outputs
    return _Made(graph, reference)


def _has_files(source: TorchGraph | OnnxGraph) -> bool:
    return isinstance(source, OnnxGraph) and isinstance(source.model, Path) and bool(external_files(source.model))


def _entry(bundle: Bundle, role: str, name: str, made: _Made, weights: manifest.File | None, ranges: dict[str, Range]) -> manifest.Graph:
    graph = made.graph
    if weights is not None:
        rename(graph.path, PurePosixPath(weights.path).name)
    opset, ir = versions(graph.path)
    inputs, outputs = (tuple(manifest.Tensor(name=spec.name, dtype=spec.dtype, shape=spec.shape) for spec in side) for side in (graph.inputs, graph.outputs))
    return manifest.Graph(
        file=bundle.add(role, f"{name}.onnx", graph.path),
        weights=weights,
        inputs=inputs,
        outputs=outputs,
        opset=opset,
        ir=ir,
        reference=made.reference,
        parity=made.parity,
        ranges=ranges,
    )
