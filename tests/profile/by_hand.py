"""Small graphs with dynamic shapes, written node by node: what they compute can be counted by hand."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.defs
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

from mmedge.runner import Graph
from mmedge.tensors import TensorSpec

NUMBERS = {"float32": T.FLOAT, "float16": T.FLOAT16, "int64": T.INT64, "int32": T.INT32, "uint8": T.UINT8, "int8": T.INT8, "bool": T.BOOL}
SCALE, ZERO = np.array(0.5, np.float32), np.array(0, np.uint8)


def f(*shape):
    return np.ones(shape, np.float32)


def u8(*shape):
    return np.ones(shape, np.uint8)


def s8(*shape):
    return np.ones(shape, np.int8)


def value(name, array=None, dtype="float32"):
    return h.make_tensor_value_info(
        name, NUMBERS[dtype if array is None else array.dtype.name], None if array is None else [f"{name}{n}" for n in range(array.ndim)]
    )


def save(path, nodes, feeds, weights=None, outputs=("y",), dtype="float32", opset=21, **external):
    """The nodes as a graph with dynamic shapes, written to ``path``; also as mmedge knows it."""
    graph = h.make_graph(
        nodes,
        "hand",
        [value(name, array) for name, array in feeds.items()],
        [value(name, dtype=dtype) for name in outputs],
        [array if isinstance(array, onnx.TensorProto) else numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset), h.make_opsetid("com.microsoft", 1)], ir_version=10)
    onnx.save(model, str(path), **external)
    return Graph(path, "", tuple(TensorSpec(name, array.dtype.name, tuple(f"{name}{n}" for n in range(array.ndim))) for name, array in feeds.items()), ())
