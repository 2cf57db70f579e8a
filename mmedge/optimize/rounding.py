"""What a graph in fp16 gives where fp16 is really stored: a judge that onnxruntime's CPU is not.

It computes runs of fp16 operators in fp32 and rounds only at their end, so what overflows in the middle passes unseen, whatever is switched off. Here the
graph is written once more in fp32, with every tensor that is fp16 rounded to fp16 and back: that is what an accelerator stores, which adds up in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.need import need
from mmedge.optimize.fp16 import TYPED_BY_ATTRIBUTE, load, name_of
from mmedge.tensors import Array, Feeds

PEAK = "peak of "
HEADROOM, BACK = "headroom", "headroom back"


def run(path: Path, feeds: Feeds, *, optimise: bool = False) -> dict[str, Array]:
    """Execute an ONNX file by onnxruntime on the CPU; what it does not optimise it executes as it is written."""
    return _opened(path, optimise)(feeds)


def _opened(path: Path, optimise: bool = False) -> Callable[[Feeds], dict[str, Array]]:
    ort = need("onnxruntime", extra="build")
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    if not optimise:
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    wanted = {value.name for value in session.get_inputs()}
    return lambda feeds: dict(zip(names, map(np.asarray, session.run(None, {name: value for name, value in feeds.items() if name in wanted}))))


def stored(path: Path, twin: Path, feeds: Feeds, *headrooms: float) -> Iterator[dict[str, Array]]:
    """What the fp16 graph at ``path`` gives where fp16 is stored, for each headroom.

    Args:
        twin: a scratch file in the same folder.
        headrooms: powers of 2; a tensor whose values times this leave fp16's range becomes infinite.

    Raises:
        MmedgeError: as ``fp16.load``.
    """
    _rounded(path, twin)
    opened = _opened(twin)
    for headroom in headrooms:
        yield opened({**feeds, HEADROOM: np.array(headroom, np.float32), BACK: np.array(1 / headroom, np.float32)})


def _rounded(path: Path, out: Path) -> None:
    """Write the fp16 graph as its twin in fp32 with rounding, which has two inputs more: the headroom, and what takes it back."""
    ir = need("onnx_ir", extra="build")
    model = load(path)
    graph = model.graph
    twins: dict[Any, Any] = {}

    def after(value: Any, steps: Iterable[tuple[str, Any]]) -> None:
        """Let what follows a tensor take what ``steps`` make of it."""
        place, result = value.producer(), value
        for number, (kind, operand) in enumerate(steps):
            inputs, attributes = ([result], {"to": operand}) if kind == "Cast" else ([result, operand], {})
            node = ir.node(kind, inputs, attributes=attributes, name=f"{value.name} rounded {number}")
            node.outputs[0].name = f"{value.name} rounded {number}"
            if place is None:
                graph.insert_before(graph[0], node)
            else:
                graph.insert_after(place, node)
            place, result = node, node.outputs[0]
        twins[value] = result

    half, single = ir.DataType.FLOAT16, ir.DataType.FLOAT
    more, less = (ir.Value(name=name, shape=ir.Shape([]), type=ir.TensorType(single)) for name in (HEADROOM, BACK))
    there_and_back = (("Mul", more), ("Cast", half), ("Cast", single), ("Mul", less))
    nodes = list(graph)
    for value in [value for value in (*graph.initializers.values(), *graph.inputs) if value.dtype == half]:
        after(value, (("Cast", single),))
    for node in nodes:
        for index, value in enumerate(node.inputs):
            if value in twins:
                node.replace_input_with(index, twins[value])
        if node.op_type == "Cast" and node.attributes["to"].value == half:
            node.attributes["to"] = ir.AttrInt64("to", single)
        for value in [value for value in node.outputs if value.dtype == half]:
            if node.op_type in TYPED_BY_ATTRIBUTE:
                after(value, (("Cast", single),))
            else:
                value.dtype = single
                after(value, there_and_back)
    for index, value in enumerate(graph.outputs):
        graph.outputs[index] = twins.get(value, value)
    graph.inputs.extend((more, less))
    ir.save(model, str(out))


def peaks(path: Path, out: Path, feeds: Feeds) -> Mapping[str, float]:
    """The largest finite absolute value that each node of an fp32 graph takes or gives, by the node's name. ``out``: a scratch file in the graph's folder."""
    ir = need("onnx_ir", extra="build")
    model = load(path)
    graph = model.graph
    empty, flat, huge = (ir.tensor(array) for array in (np.zeros(1, np.float32), np.array([-1], np.int64), np.array(1e30, np.float32)))
    extra = {name: _constant(ir, graph, name, tensor) for name, tensor in (("no value", empty), ("flat", flat), ("beyond", huge))}
    nodes = list(graph)
    measured: dict[Any, str] = {}
    for value in [*graph.inputs, *(value for node in nodes for value in node.outputs)]:
        if value.dtype != ir.DataType.FLOAT:
            continue
        steps = [ir.node("Reshape", [value, extra["flat"]])]
        steps.append(ir.node("Concat", [steps[-1].outputs[0], extra["no value"]], attributes={"axis": 0}))  # an empty cache has no largest value
        steps.append(ir.node("Abs", [steps[-1].outputs[0]]))
        steps.append(ir.node("Less", [steps[-1].outputs[0], extra["beyond"]]))
        steps.append(ir.node("Where", [steps[-1].outputs[0], steps[-2].outputs[0], extra["no value"]]))
        steps.append(ir.node("ReduceMax", [steps[-1].outputs[0]], attributes={"keepdims": 0}))
        for number, node in enumerate(steps):
            node.outputs[0].name = f"{PEAK}{value.name} {number}"
        place = value.producer()
        if place is None:
            graph.insert_before(graph[0], steps)
        else:
            graph.insert_after(place, steps)
        last = steps[-1].outputs[0]
        last.dtype, last.shape, measured[value] = ir.DataType.FLOAT, ir.Shape([]), last.name
        graph.outputs.append(last)
    ir.save(model, str(out))
    found = run(out, feeds)
    return {name_of(node): max([0.0, *(float(found[measured[value]]) for value in (*node.inputs, *node.outputs) if value in measured)]) for node in nodes}


def _constant(ir: Any, graph: Any, name: str, tensor: Any) -> Any:
    made = ir.Value(name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
    graph.register_initializer(made)
    return made
