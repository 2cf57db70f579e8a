"""The arithmetic and the memory traffic that one run of a graph cannot do without.

ONNX Runtime runs the graph once as it is written, nothing optimised, and its profiler tells the shapes of every node each time it runs: dynamic sizes,
the branch an If takes and the turns of a Loop are what they really are. FLOPs are those of matrix products, convolutions, recurrent layers and attention,
a multiplication and an addition being two: what papers and torch.utils.flop_counter count. Element-wise operators, reductions, norms, pooling, resizing
and data movement count nothing. Zeros of padding, masked attention and steps past a sequence's length count as if they were computed, as they do there.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mmedge import onnx_file
from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.profile.flop_rules import FREE, FREE_OF_OTHERS, INTEGER, flops_of
from mmedge.runner import Graph
from mmedge.tensors import Feeds, check_feeds

MOST_EVENTS = 1_000_000
"""What ONNX Runtime's profiler keeps."""


@dataclass(frozen=True, slots=True)
class Work:
    """Of one run."""

    flops: int
    bytes: int
    """Compulsory: weights as they are stored, inputs and outputs, each once; a key/value cache is both. Of a table that is only looked up, the rows taken."""
    by_kind: dict[str, int]
    """Operator -> its FLOPs."""
    unknown: tuple[str, ...] = ()
    """Operators that may hold multiplications and were not counted, with the reason; then the other figures are lower bounds."""
    integer_flops: int = 0
    """Of ``flops``, those whose factors are both integers of 8 bits or fewer, or rounded to them by the operator."""
    float_weights: int = 0
    """Of ``bytes``, weights stored in float32: a runtime that computes in half precision keeps half of these."""


def work(graph: Graph, feeds: Feeds) -> Work:
    """Count by running the graph once on the CPU.

    Raises:
        MmedgeError: the file is no ONNX, the feeds do not fit, or ONNX Runtime cannot run it.
    """
    model = onnx_file.read(graph.path)
    events, outputs_bytes = _run(graph, feeds)
    nodes = _Nodes(model.graph)
    by_kind: Counter[str] = Counter()
    unknown = {} if len(events) < MOST_EVENTS else {f"more than {MOST_EVENTS} nodes ran: the rest was not seen": 1}
    integer = 0
    for event in events:
        known = nodes.named(event["op_name"], event["name"])
        domains = {node.domain.removeprefix("ai.onnx") for node in known}
        domain = domains.pop() if len(domains) == 1 else ""
        kind = f"{domain}:{event['op_name']}" if domain else event["op_name"]
        if kind in FREE or kind in FREE_OF_OTHERS:
            continue
        flops = flops_of(kind, known, event["inputs"], event["outputs"])
        if flops is None:
            unknown[kind] = 1
        elif flops:
            by_kind[event["op_name"]] += flops
            integer += flops if event["op_name"] in INTEGER or (known and all(map(nodes.quantized, known))) else 0
    stored = dict(nodes.weights(events))
    floats = sum(size for (_, number), size in stored.items() if number == onnx_file.FLOAT)
    inputs_bytes = sum(np.asarray(array).nbytes for array in feeds.values())
    total = sum(stored.values()) + inputs_bytes + outputs_bytes
    return Work(sum(by_kind.values()), total, dict(by_kind.most_common()), tuple(sorted(unknown)), integer, floats)


def _run(graph: Graph, feeds: Feeds) -> tuple[list[dict[str, Any]], int]:
    """Every node's run in order (name, op_name, shapes of inputs and outputs), and the bytes of the graph's outputs."""
    ort = need("onnxruntime", extra="build")
    with tempfile.TemporaryDirectory() as folder:
        settings = ort.SessionOptions()
        settings.log_severity_level = 4
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings.add_session_config_entry("session.disable_prepacking", "1")  # a packed weight has no shape in the profile
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(folder) / "run")
        try:
            session = ort.InferenceSession(str(graph.path), settings, providers=["CPUExecutionProvider"])
            outputs = session.run(None, check_feeds(graph.inputs, feeds))
        except MmedgeError:
            raise
        except Exception as error:  # onnxruntime raises a class per status, all direct children of Exception
            raise MmedgeError(f"onnxruntime {ort.__version__} cannot run {graph.path.name} to count its work: {error}", "update onnxruntime") from error
        written = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    events = [
        {
            "name": event["name"].removesuffix("_kernel_time"),
            "op_name": event["args"]["op_name"],
            "inputs": [_shape(one) for one in event["args"]["input_type_shape"]],
            "outputs": [_shape(one) for one in event["args"]["output_type_shape"]],
        }
        for event in written
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]
    return events, sum(output.nbytes for output in outputs if isinstance(output, np.ndarray))


def _shape(typed: dict[str, list[int]]) -> tuple[int, ...]:
    return tuple(next(iter(typed.values()), ()))


class _Nodes:
    """The nodes of the file, as the profile names them."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._by_name: dict[tuple[str, str], list[Any]] = defaultdict(list)
        self._made_by: dict[str, str] = {}
        self._readers: dict[str, list[Any]] = defaultdict(list)
        for one in onnx_file.graphs(graph):
            # ONNX Runtime makes weights of the constants before it numbers the nodes.
            for index, node in enumerate(node for node in one.node if node.op_type != "Constant"):
                self._by_name[node.op_type, node.name or f"{node.op_type}_{index}"].append(node)
                self._made_by.update(dict.fromkeys(node.output, node.op_type))
                for name in node.input:
                    self._readers[name].append(node)
            for value in one.output:
                self._readers[value.name].append(None)

    def named(self, kind: str, name: str) -> list[Any]:
        """Several where nodes of different graphs have the same name; none where the runtime itself made the node."""
        return self._by_name.get((kind, name), [])

    def quantized(self, node: Any) -> bool:
        """Whether both factors come out of 8 bits: runtimes multiply such a pair as integers."""
        return len(node.input) > 1 and all(self._made_by.get(name) == "DequantizeLinear" for name in node.input[:2])

    def weights(self, events: Sequence[dict[str, Any]]) -> Iterator[tuple[tuple[str, int], int]]:
        """(name, ONNX's number of its type) -> bytes to read, of every weight in a part of the graph that ran."""
        ran = Counter({(event["op_name"], event["name"]): 0 for event in events})
        for event in events:
            ran[event["op_name"], event["name"]] += prod(event["outputs"][0]) if event["outputs"] else 0
        yield from self._weights(self._graph, ran, "")

    def _weights(self, graph: Any, ran: Counter[tuple[str, str]], place: str) -> Iterator[tuple[tuple[str, int], int]]:
        constants = [(node.output[0], one.t) for node in graph.node if node.op_type == "Constant" for one in node.attribute if one.HasField("t")]
        for name, tensor in [*((tensor.name, tensor) for tensor in graph.initializer), *constants]:
            size, readers = onnx_file.size_bytes(tensor), self._readers[name]
            if readers and all(node is not None and node.op_type == "Gather" and node.input[0] == name and node.name for node in readers):
                rows = sum(ran["Gather", node.name] for node in readers)
                size = min(size, rows * onnx_file.BITS.get(tensor.data_type, 0) // 8)
            if readers:
                yield (f"{place}{name}", tensor.data_type), size
        for number, node in enumerate(graph.node):
            for index, inner in enumerate(onnx_file.inside(node)):
                steps = list(enumerate(step for step in inner.node if step.op_type != "Constant"))
                if not steps or any((step.op_type, step.name or f"{step.op_type}_{at}") in ran for at, step in steps):
                    yield from self._weights(inner, ran, f"{place}{number}/{index}/")
