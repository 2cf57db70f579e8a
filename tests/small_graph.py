"""Graphs of a few nodes, as files and as backends take them."""

from __future__ import annotations

import hashlib

import onnx
from onnx import TensorProto, helper

from mmedge.runner import Graph
from mmedge.tensors import TensorSpec

TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int64": TensorProto.INT64, "int8": TensorProto.INT8}


def graph(path, *nodes, inputs=None, outputs=None, constants=(), ranges=None, external=False):
    """Write ``nodes`` to ``path``, opset 18.

    Args:
        inputs, outputs: name -> (numpy's name of the type, shape); x and y of one dynamic dimension ``n`` unless told.
        constants: tensors of the file.
        external: put the tensors into a file beside it.
    """
    inputs, outputs = inputs or {"x": ("float32", ("n",))}, outputs or {"y": ("float32", ("n",))}
    values = [[helper.make_tensor_value_info(name, TYPES[dtype], list(shape)) for name, (dtype, shape) in side.items()] for side in (inputs, outputs)]
    model = helper.make_model(helper.make_graph(nodes, "g", *values, list(constants)), opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    weights = path.with_suffix(".data") if external else None
    onnx.save(model, path, save_as_external_data=external, location=weights.name if weights else None, size_threshold=0)
    specs = [tuple(TensorSpec(name, dtype, tuple(shape)) for name, (dtype, shape) in side.items()) for side in (inputs, outputs)]
    return Graph(path, hashlib.sha256(path.read_bytes()).hexdigest(), *specs, weights, {"n": (1, 2, 4)} if ranges is None else ranges)
