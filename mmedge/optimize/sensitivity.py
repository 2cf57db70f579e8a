"""Which nodes of a graph are harmed most by a method of quantization: what is to stay in float first, where a candidate loses too much.

Every node is rounded alone, as the method would, and what that is off by is added to what it gives in fp32: the rest of the graph then shows how much of it
reaches the outputs. A run of the graph for each node and sample, and no evaluation of a metric.

NNCF's ``quantize_with_accuracy_control`` is not used: it ranks by as many runs over 300 samples, and then evaluates the metric each time that it takes one node
more back, as often as nodes are to stay, and it knows the graphs of OpenVINO and ONNX alone. ``repair`` bisects: on MiniLM, with a fifth of the loss allowed,
12 evaluations for 10 nodes of 37.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.optimize import ort_static, proto
from mmedge.optimize.integer import is_transformer, weights_of
from mmedge.optimize.lookups import tables
from mmedge.optimize.made import Feeding, refusing
from mmedge.optimize.nvidia_static import channel_axis
from mmedge.optimize.ranges import ranges
from mmedge.optimize.simulated import Rounding, error
from mmedge.quantization import Dynamic, Quantize, Static
from mmedge.runner import Graph
from mmedge.tensors import Array, Feeds

RANGED = 8
"""Samples that ranges are measured on."""
RUNS, MOST = 80, 2
"""About so many runs of the graph, of so many samples at most: on real encoders and decoders the order for one is that for eight (Spearman 0.91 to 0.99)."""


def rank(graph: Graph, backend: str, options: Quantize, feeds: Feeding) -> tuple[str, ...]:
    """The nodes that a method would quantize, by how much noise in the outputs each leaves alone, relative to the signal.

    Args:
        graph: in fp32.
        backend, options: as ``made.maker`` takes them.
        feeds: calibration feeds; the first few are taken.

    Returns:
        Names as ``proto.load`` gives them, those that do most harm first.

    Raises:
        MmedgeError: there are no feeds, or onnxruntime does not take the graph.
    """
    model = proto.load(graph)
    nodes = quantized(model, backend, options)
    count = min(max(RUNS // max(len(nodes), 1), 1), MOST)
    samples = list(itertools.islice(feeds(), max(RANGED, count)))
    if not samples:
        raise MmedgeError("there are no feeds to rank nodes by", "give calibration data: --data")
    with refusing("onnxruntime", graph), tempfile.TemporaryDirectory(prefix="mmedge-sensitivity-") as folder:
        by = _rounding(model, nodes, backend, options, samples)
        probe = _Probe(model, nodes, Path(folder) / "graph.onnx")
        noise = dict.fromkeys((node.name for node in nodes), 0.0)
        for one in samples[:count]:
            wanted, values = probe.exact(one)
            for node in nodes:
                off = error(model, node, values, [values[name] for name in node.output if name], by)
                noise[node.name] += _relative(probe.run(one, node, off), wanted)
    return tuple(sorted(noise, key=lambda name: -noise[name]))


def quantized(model: Any, backend: str, options: Quantize) -> list[Any]:
    """The nodes of a model that a method would quantize, in their order."""
    weighted = weights_of(model)
    held = [node for node in model.graph.node if node.name in weighted]
    if backend == "openvino":
        return held
    tabled = {node.name for table in tables(model) for node in (*table.looked_up, *table.products)}
    if backend == "tensorrt":
        convolutions = isinstance(options, Static)
        able = {node.name for node in held if channel_axis(model, node) is not None and (convolutions or node.op_type != "Conv")}
    elif isinstance(options, Static):
        able = {node.name for node in ort_static.able(model)[1] if node.op_type not in ort_static.UNROUNDED}
    else:
        able = {node.name for node in held if node.op_type in ("MatMul", "Gemm", *(("LSTM",) if isinstance(options, Dynamic) else ()))}
    return [node for node in model.graph.node if node.name in able | tabled]


def _rounding(model: Any, nodes: list[Any], backend: str, options: Quantize, samples: list[Feeds]) -> Rounding:
    symmetric = backend == "tensorrt"
    smooth = backend == "openvino" and isinstance(options, Static) and is_transformer(model)
    found: dict[str, tuple[float, float]] = {}
    if isinstance(options, Static) and not smooth:
        taken = {name for node in nodes for name in node.input}
        measured = ranges(model, taken, lambda: iter(samples), options, symmetric=symmetric)
        for name in measured.keys() & taken:
            low, high = (float(np.asarray(bound).reshape(-1)[0]) for bound in measured[name].range_value)
            found[name] = low, high
    return Rounding(options, symmetric, smooth, found)


class _Probe:
    """A graph whose nodes of interest can be given something wrong to give."""

    def __init__(self, model: Any, nodes: list[Any], path: Path) -> None:
        onnx, ort = need("onnx", extra="build"), need("onnxruntime", extra="build")
        self._outputs = [value.name for value in model.graph.output]
        self._constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        given = [name for node in nodes for name in node.output if name]
        self._off = {f"{name} off": np.zeros((), np.float32) for name in given}
        self._exact = {name: f"{name} exact" for name in given}
        computed = {name for node in model.graph.node for name in node.output} - set(given)
        self._exact |= {name: name for node in nodes for name in node.input if name in computed}
        probed = onnx.ModelProto()
        probed.CopyFrom(model)
        for node in [node for node in probed.graph.node if any(f"{name} off" in self._off for name in node.output)]:
            for index, name in enumerate(node.output):
                if name:
                    node.output[index] = f"{name} exact"
                    probed.graph.input.append(onnx.helper.make_tensor_value_info(f"{name} off", onnx.TensorProto.FLOAT, None))
                    probed.graph.node.append(onnx.helper.make_node("Add", [f"{name} exact", f"{name} off"], [name], name=f"{name} off"))
        probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._exact.values() if name not in self._outputs)
        proto.tidy(probed)
        onnx.save(probed, str(path))
        settings = ort.SessionOptions()
        settings.log_severity_level = 4
        self._session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        self._inputs = {value.name for value in model.graph.input}

    def exact(self, feeds: Feeds) -> tuple[list[Array], dict[str, Array]]:
        """What the graph gives in fp32; and by name all that its nodes of interest take and give."""
        given = {name: array for name, array in feeds.items() if name in self._inputs}
        found = list(map(np.asarray, self._session.run([*self._outputs, *self._exact.values()], {**given, **self._off})))
        return found[: len(self._outputs)], {**self._constants, **given, **dict(zip(self._exact, found[len(self._outputs) :]))}

    def run(self, feeds: Feeds, node: Any, off: list[Array]) -> list[Array]:
        """What the graph gives where a node's outputs are off by that much."""
        given = {name: array for name, array in feeds.items() if name in self._inputs}
        wrong = {f"{name} off": array for name, array in zip((name for name in node.output if name), off)}
        return list(map(np.asarray, self._session.run(self._outputs, {**given, **self._off, **wrong})))


def _relative(got: list[Array], wanted: list[Array]) -> float:
    """The power of the noise relative to that of the signal: the mean over the outputs."""
    shares = []
    for noisy, clean in zip(got, wanted):
        signal = clean.astype(np.float64)
        share = float(np.square(noisy.astype(np.float64) - signal).sum() / max(float(np.square(signal).sum()), 1e-30))
        shares.append(share if np.isfinite(share) else np.inf)
    return float(np.mean(shares))
