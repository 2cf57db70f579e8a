"""The few messages of an ONNX file that counting and writing a small graph need, without the package onnx: a device lacks it.

Field numbers are those of onnx.proto, which never change; protobuf itself comes with ONNX Runtime.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.tensors import Array

FIELDS = {
    "Model": "int64 ir_version 1, string producer_name 2, Graph graph 7, Opset* opset_import 8",
    "Opset": "string domain 1, int64 version 2",
    "Graph": "Node* node 1, string name 2, Tensor* initializer 5, Value* input 11, Value* output 12, Value* value_info 13",
    "Node": "string* input 1, string* output 2, string name 3, string op_type 4, Attribute* attribute 5, string domain 7, Entry* metadata_props 9",
    "Attribute": "string name 1, int64 i 3, bytes s 4, Tensor t 5, Graph g 6, int64* ints 8, Graph* graphs 11, int32 type 20",
    "Tensor": "int64* dims 1, int32 data_type 2, int32* int32_data 5, string name 8, bytes raw_data 9, Entry* external_data 13, int32 data_location 14",
    "Entry": "string key 1, string value 2",
    "Value": "string name 1, Type type 2",
    "Type": "TensorType tensor_type 1",
    "TensorType": "int32 elem_type 1, Shape shape 2",
    "Shape": "Dimension* dim 1",
    "Dimension": "int64 dim_value 1, string dim_param 2",
}
"""``TYPE name NUMBER``; a star: repeated."""

BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16}
"""ONNX's number of an element type -> bits of one element; text (8) has no size."""
BITS |= {**dict.fromkeys((17, 18, 19, 20, 24), 8), **dict.fromkeys((21, 22, 23), 4), **dict.fromkeys((25, 26), 2)}
FLOAT = 1
INTEGERS = (2, 3, 21, 22)
"""ONNX's numbers of whole numbers in 8 and 4 bits: what weights are quantized to."""
Node = tuple[str, Sequence[str], str, Mapping[str, int | Sequence[int]]]
"""(operator, inputs, output, attributes); an operator of another domain is ``domain:Operator``."""
NUMBERS = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "float64": 11}
"""numpy's name -> ONNX's number."""
INT, INTS = 2, 7
"""ONNX's numbers of attribute types."""


@functools.cache
def _messages() -> dict[str, Any]:
    descriptor = need("google.protobuf.descriptor_pb2", extra="build")
    file = descriptor.FileDescriptorProto(name="mmedge_onnx.proto", package="mmedge_onnx", syntax="proto2")
    kinds = descriptor.FieldDescriptorProto
    for message, fields in FIELDS.items():
        declared = file.message_type.add(name=message)
        for field in fields.split(", "):
            kind, name, number = field.split()
            label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            one = declared.field.add(name=name, number=int(number), label=label)
            kind = kind.rstrip("*")
            if kind in FIELDS:
                one.type, one.type_name = kinds.TYPE_MESSAGE, f".mmedge_onnx.{kind}"
            else:
                one.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = need("google.protobuf.descriptor_pool", extra="build").DescriptorPool()
    pool.Add(file)
    factory = need("google.protobuf.message_factory", extra="build")
    return {name: factory.GetMessageClass(pool.FindMessageTypeByName(f"mmedge_onnx.{name}")) for name in FIELDS}


def read(path: Path) -> Any:
    """The model; tensors of a weights file are described, not read. Raises MmedgeError: no ONNX file."""
    model = _messages()["Model"]()
    try:
        model.ParseFromString(path.read_bytes())
    except (OSError, need("google.protobuf.message", extra="build").DecodeError) as error:
        raise MmedgeError(f"{path} cannot be read as ONNX: {error}", "export the bundle again") from error
    return model


def graphs(graph: Any) -> Iterator[Any]:
    """A graph and all those inside its nodes."""
    yield graph
    for node in graph.node:
        for inner in inside(node):
            yield from graphs(inner)


def holds_integers(path: Path) -> bool:
    """Whether a file holds matrices of integers, as one with quantized weights does. Raises MmedgeError: no ONNX file."""
    return any(tensor.data_type in INTEGERS and len(tensor.dims) > 1 for graph in graphs(read(path).graph) for tensor in graph.initializer)


def inside(node: Any) -> list[Any]:
    """The graphs that a node runs: branches of an If, the body of a Loop."""
    return [graph for attribute in node.attribute for graph in ([attribute.g] if attribute.HasField("g") else attribute.graphs)]


def attribute(node: Any, name: str, otherwise: Any) -> Any:
    """A node's attribute, of the kind that ``otherwise`` has: a whole number, or text."""
    found = next((one for one in node.attribute if one.name == name), None)
    if found is None:
        return otherwise
    return found.s.decode() if isinstance(otherwise, str) else found.i


def size_bytes(tensor: Any) -> int:
    """Of a tensor in the element type it is stored in."""
    return (prod(tensor.dims) * BITS.get(tensor.data_type, 0) + 7) // 8


def small_model(
    nodes: Sequence[Node],
    inputs: Mapping[str, Array],
    output: tuple[str, str, Sequence[int]],
    weights: Mapping[str, Array],
    domains: Mapping[str, int],
) -> bytes:
    """An ONNX file with fixed shapes.

    Args:
        inputs: examples of what will be fed.
        output: name, numpy's name of the element type, shape.
        domains: name -> version of its operators.
    """
    model = _messages()["Model"](ir_version=8)
    for domain, version in domains.items():
        model.opset_import.add(domain=domain, version=version)
    model.graph.name = "kernel"
    for kind, takes, gives, attributes in nodes:
        domain, _, operator = kind.rpartition(":")
        node = model.graph.node.add(op_type=operator, domain=domain, input=takes, output=[gives])
        for name, value in attributes.items():
            if isinstance(value, int):
                node.attribute.add(name=name, i=value, type=INT)
            else:
                node.attribute.add(name=name, ints=value, type=INTS)
    for name, array in weights.items():
        model.graph.initializer.add(name=name, dims=array.shape, data_type=NUMBERS[array.dtype.name], raw_data=np.ascontiguousarray(array).tobytes())
    for side, name, dtype, shape in [*((model.graph.input, name, a.dtype.name, a.shape) for name, a in inputs.items()), (model.graph.output, *output)]:
        kind = side.add(name=name).type.tensor_type
        kind.elem_type = NUMBERS[dtype]
        for size in shape:
            kind.shape.dim.add(dim_value=size)
    written: bytes = model.SerializeToString()
    return written
