"""NNCF as the makers of OpenVINO's graphs use it: silent, nothing sent anywhere, and its result read back for what it really is."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.optimize.made import Feeding, refusing
from mmedge.runner import Graph
from mmedge.tensors import Feeds

WEIGHTED = ("MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData", "Gather", "LSTMSequence", "GRUSequence")
INTEGERS = ("i8", "u8", "i4", "u4")
FLOATS = ("f32", "f16", "bf16")
NO_NODES = ("Constant", "Parameter")
UNHEARD = {"NNCF_CI": "1", "CI": "true"}
"""Without these, NNCF reports its use to Google Analytics, unasked."""


@contextlib.contextmanager
def nncf() -> Iterator[Any]:
    """The package, for as long as its progress bars are swallowed. Raises NotInstalled."""
    before = {name: os.environ.get(name) for name in UNHEARD}
    os.environ.update(UNHEARD)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            tool = need("nncf", extra="quantize")
            logging.getLogger("nncf").setLevel(logging.ERROR)
            yield tool
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


class Samples:
    """Calibration feeds as NNCF iterates over them: from the beginning in each of its passes."""

    def __init__(self, feeds: Feeding) -> None:
        self._feeds = feeds
        self._count = sum(1 for _ in feeds())
        if not self._count:
            raise MmedgeError("there are no feeds to measure the ranges of activations on", "give calibration data: --data")

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Feeds]:
        return self._feeds()


def read(graph: Graph) -> Any:
    """An ``openvino.Model`` of the fp32 graph. Raises MmedgeError: OpenVINO does not take it."""
    openvino = need("openvino", extra="openvino")
    with refusing("OpenVINO", graph):
        return openvino.Core().read_model(graph.path)


def origins(model: Any, source: Any) -> dict[str, str]:
    """The operators of a model, by name -> the node of the ONNX graph that they came from. What NNCF puts between them changes no name."""
    producers = {name: output.get_node() for one in model.get_ordered_ops() for output in one.outputs() for name in output.get_names()}
    found: dict[str, str] = {}
    for node in source.graph.node:
        waiting = [producers[name] for name in node.output if name in producers]
        while waiting:
            one = waiting.pop()
            if one.get_type_name() not in NO_NODES and one.get_friendly_name() not in found:
                found[one.get_friendly_name()] = node.name
                waiting += [given.get_node() for given in one.input_values() if not given.get_names() & set(node.input)]
    return found


def scope(tool: Any, origin: dict[str, str], weighted: dict[str, str], keep: Collection[str]) -> Any:
    """What NNCF is to leave alone: all that came from nodes to keep, and from those that share a weight with one."""
    shared = {weight for node, weight in weighted.items() if node in keep}
    every = {*keep, *(node for node, weight in weighted.items() if weight in shared)}
    return tool.IgnoredScope(names=[name for name, node in origin.items() if node in every], validate=False)


def fold(model: Any) -> None:
    """Fold the constants of a model with depthwise convolutions: their weights lie behind a Reshape, and the CPU plugin computes such in fp32, whatever NNCF
    made of them. In other models it would store twice what is used in two ways.
    """
    if any(operation.get_type_name() == "GroupConvolution" for operation in model.get_ops()):
        passes = need("openvino.passes", extra="openvino")
        folding = passes.Manager()
        folding.register_pass(passes.ConstantFolding())
        folding.run_passes(model)


def save(model: Any, graph: Graph, out: Path, name: str) -> tuple[Path, Path]:
    """Write the IR. What is fp32 stays so: OpenVINO would compress it to fp16 unless told. Returns its two files."""
    path = out / f"{graph.path.name.partition('.')[0]}-openvino-{name}.xml"
    need("openvino", extra="openvino").save_model(model, str(path), compress_to_fp16=False)
    return path, path.with_suffix(".bin")


def computed(path: Path) -> int:
    """Operators with a weight that the opened model computes in 8 bits."""
    openvino = need("openvino", extra="openvino")
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    infos = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ops()]
    kinds = ("FullyConnected", "MatMul", "Convolution", "RNNSeq", "LSTMSequence")
    return sum(_text(info["layerType"]) in kinds and _text(info["runtimePrecision"]) in INTEGERS for info in infos)


def weights(model: Any, origin: dict[str, str], weighted: Collection[str]) -> tuple[tuple[str, ...], int]:
    """Of the ONNX graph's nodes with weights: the names of those that have one in floating point, in their order, and how many have it as integers."""
    floats, integers = set(), set()
    for operation in model.get_ordered_ops():
        node = origin.get(operation.get_friendly_name())
        if node not in weighted or operation.get_type_name() not in WEIGHTED:
            continue
        kinds = {kind for index in range(operation.get_input_size()) if (kind := _stored(operation.input_value(index).get_node()))}
        floats |= {node} if kinds & set(FLOATS) else set()
        integers |= {node} if kinds & set(INTEGERS) else set()
    return tuple(name for name in weighted if name in floats), len(integers - floats)


def _stored(node: Any) -> str:
    """The type that a weight of two dimensions and more has in the file, behind what turns it into a factor; empty of what is computed."""
    while node.get_type_name() in ("Convert", "Multiply", "Subtract", "Reshape", "Transpose", "FakeQuantize"):
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or len(node.get_output_shape(0)) < 2:
        return ""
    return str(node.get_output_element_type(0).get_type_name())


def _text(value: Any) -> str:
    """A value of a runtime model's info, which older versions wrap."""
    return str(value.astype(str) if hasattr(value, "astype") else value)
