"""Graphs of a node or two for the runner for TensorRT, and what they are fed."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from mmedge.build.trace import read_graph


def made(path, nodes, inputs, outputs):
    """A graph of these nodes; tensors as (name, type, shape)."""
    inputs, outputs = ([helper.make_tensor_value_info(*one) for one in side] for side in (inputs, outputs))
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return read_graph(path)


def added(path, shape):
    """x + y."""
    tensors = [(name, TensorProto.FLOAT, shape) for name in "xyz"]
    return made(path, [helper.make_node("Add", ["x", "y"], ["z"])], tensors[:2], tensors[2:])


def feeds(shape=(2, 3), seed=0):
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape).astype(np.float32) for name in "xy"}
