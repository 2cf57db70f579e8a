"""A graph as NVIDIA's parser reads it, and what the network computes in, known before anything is built."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from mmedge.backends.tensorrt import flavour as flavours
from mmedge.backends.tensorrt.flavour import Flavour
from mmedge.backends.tensorrt.refusals import Refusal, refusals
from mmedge.errors import MmedgeError
from mmedge.runner import Graph

PRECISIONS = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16"}
"""TensorRT's names of element types -> mmedge's, where they are not the same in small letters."""

NUMPY = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}

NO_WORK = {"CONSTANT", "CAST", "IDENTITY", "SHAPE"}
"""Layers that compute nothing in the type that they give."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What became of a graph; ``network`` is of use only without refusals. The parser owns the network's weights: both live as long."""

    graph: Graph
    flavour: Flavour
    network: Any
    refusals: tuple[Refusal, ...]
    builder: Any
    parser: Any


def parse(graph: Graph, flavour: Flavour, *, strongly_typed: bool = True) -> Parsed:
    """Have a graph read, from its file and the weights file beside it.

    Args:
        strongly_typed: every tensor has the type that the graph says; without it, TensorRT before 11 chooses among those that its builder is allowed.

    Raises:
        MmedgeError: the module is not installed or does not start, or the file is no ONNX file.
    """
    trt, log, builder = flavours.load(flavour), flavours.log(flavour), flavours.builder(flavour)
    log.clear()
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(1 << int(flag) if strongly_typed and flag is not None else 0)
    parser = trt.OnnxParser(network, log)
    taken = parser.parse_from_file(str(graph.path))
    found = refusals(parser, graph.path)
    if not taken and not found:
        found = (Refusal("", "", log.errors[-1] if log.errors else "refused, and no reason given"),)
    if not found and not network.num_outputs:  # the parser takes any bytes for a graph without nodes
        raise MmedgeError(f"{graph.path} cannot be read as ONNX: it has no outputs", "export the bundle again")
    if not found:
        found = _differences(network, graph)
    return Parsed(graph, flavour, network, found, builder, parser)


def types(network: Any) -> Counter[str]:
    """What a network computes in: ``fp16`` and so on -> number of layers. A strongly typed one is built exactly so.

    A layer counts in the type that it gives; one that takes integers back to floats in the integers' type.
    """
    found: Counter[str] = Counter()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind = layer.type.name
        if kind not in NO_WORK and layer.num_outputs:
            found[_precision((layer.get_input(0) if kind == "DEQUANTIZE" else layer.get_output(0)).dtype)] += 1
    return found


def _precision(dtype: Any) -> str:
    return PRECISIONS.get(dtype.name, dtype.name.lower())


def _differences(network: Any, graph: Graph) -> tuple[Refusal, ...]:
    """Inputs and outputs that are not what the graph declares."""
    read = {
        "input": [network.get_input(index) for index in range(network.num_inputs)],
        "output": [network.get_output(index) for index in range(network.num_outputs)],
    }
    found = []
    for side, specs in (("input", graph.inputs), ("output", graph.outputs)):
        tensors = {tensor.name: NUMPY.get(tensor.dtype.name, tensor.dtype.name.lower()) for tensor in read[side]}
        for spec in specs:
            if (dtype := tensors.get(spec.name)) != spec.dtype:
                found.append(Refusal("", "", f"the graph's {side} {spec.name} is {spec.dtype}, the parser makes {dtype or 'none'} of it"))
    return tuple(found)
