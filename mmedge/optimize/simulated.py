"""What single nodes give once they are quantized, in numpy and by the node alone: rounded to integers and back, as a method rounds what they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.need import need
from mmedge.optimize.integer import WEIGHTED
from mmedge.quantization import Dynamic, Quantize, WeightOnly
from mmedge.tensors import Array

Floats = NDArray[np.float32]

SMOOTH = 0.95
"""NNCF's for products, where nobody says."""
TINY = np.float32(1e-20)


@dataclass(frozen=True, slots=True)
class Rounding:
    """How a method rounds."""

    options: Quantize
    symmetric: bool
    """Activations around 0."""
    smooth: bool
    """Outliers of activations are moved into weights first."""
    ranges: Mapping[str, tuple[float, float]]
    """Of the activations, as it has measured them; empty where each run has its own."""


def error(model: Any, node: Any, taken: Mapping[str, Array], given: list[Array], by: Rounding) -> list[Array]:
    """What a node's outputs are off by when it alone is quantized.

    Args:
        taken: what it takes in fp32, by name.
        given: what it gives then.
    """
    held = WEIGHTED.get(node.op_type)
    weight = node.input[held] if held is not None and len(node.input) > held else ""
    activations = [] if isinstance(by.options, WeightOnly) or node.op_type == "Gather" else _activations(node, taken, weight)
    values = dict(taken)
    if weight and by.smooth and node.op_type in ("MatMul", "Gemm"):
        alpha = SMOOTH if by.options.smooth is None else by.options.smooth  # type: ignore[union-attr]
        values |= _smoothed(node, values, weight, alpha)
    for name in activations:
        found = by.ranges.get(name)
        if by.smooth or isinstance(by.options, Dynamic):
            found = (float(values[name].min()), float(values[name].max())) if values[name].size else None
        if found is not None:
            values[name] = around_zero(values[name], max(map(abs, found))) if by.symmetric else between(values[name], *found)
    if weight:
        values[weight] = _weight(node, values[weight], by.options)
        if node.op_type in ("LSTM", "GRU", "RNN"):
            values[node.input[2]] = _weight(node, values[node.input[2]], by.options)
    return [np.subtract(got, exact) for got, exact in zip(_alone(model, node, values), given)]


def around_zero(array: Array, largest: float) -> Floats:
    """Rounded to -127 to 127 steps and back."""
    step = np.float32(largest / 127) or TINY
    return np.asarray(np.clip(np.rint(array / step), -127, 127) * step, np.float32)


def between(array: Array, low: float, high: float) -> Floats:
    """Rounded to 256 steps of a range that holds 0, and back."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = np.float32((high - low) / 255) or TINY
    zero = np.rint(-low / step)
    return np.asarray((np.clip(np.rint(array / step) + zero, 0, 255) - zero) * step, np.float32)


def _activations(node: Any, taken: Mapping[str, Array], weight: str) -> list[str]:
    """What of a node's inputs is rounded by a range: its first where it has a weight; otherwise all numbers."""
    if weight:
        return [node.input[0]]
    return [name for name in dict.fromkeys(node.input) if name in taken and taken[name].dtype == np.float32]


def _axis(node: Any) -> int:
    """The axis of a weight that its channels lie along."""
    onnx = need("onnx", extra="build")
    turned = any(one.name == "transB" and onnx.helper.get_attribute_value(one) for one in node.attribute)
    return {"MatMul": -1, "Gemm": 0 if turned else 1, "Conv": 0, "ConvTranspose": 1, "Gather": 0}.get(node.op_type, 1)


def _weight(node: Any, array: Array, options: Quantize) -> Floats:
    """8 bits with a step for each channel; or fewer, with one for each block along the sum."""
    numbers: Floats = np.asarray(array, np.float32)
    channels: Floats = np.moveaxis(numbers, _axis(node), 0)
    rows: Floats = channels.reshape(len(channels), -1)
    most = 127
    if isinstance(options, WeightOnly) and options.bits == 4 and rows.shape[1] % options.block_size == 0:
        rows, most = rows.reshape(-1, options.block_size), 7
    if node.op_type in ("LSTM", "GRU", "RNN"):  # two directions
        return _steps(numbers.reshape(-1, numbers.shape[-1]), most).reshape(numbers.shape)
    return np.moveaxis(_steps(rows, most).reshape(channels.shape), 0, _axis(node))


def _steps(rows: Floats, most: int) -> Floats:
    steps = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / np.float32(most), TINY)
    return np.asarray(np.clip(np.rint(rows / steps), -most, most) * steps, np.float32)


def _smoothed(node: Any, values: Mapping[str, Array], weight: str, alpha: float) -> dict[str, Array]:
    """A product's two factors with outliers moved from the first to the second, column by column (Xiao et al. 2023, "SmoothQuant")."""
    first, second = values[node.input[0]], values[weight]
    inner = second.ndim - 2 if _axis(node) in (-1, 1) else 1
    if second.ndim != 2 or not first.size:
        return {}
    columns = np.abs(first.reshape(-1, first.shape[-1])).max(axis=0)
    scales = np.maximum(columns, 1e-5) ** alpha / np.maximum(np.abs(second).max(axis=1 - inner), 1e-5) ** (1 - alpha)
    return {node.input[0]: first / scales, weight: second * (scales[:, None] if inner == 0 else scales)}


def _alone(model: Any, node: Any, values: Mapping[str, Array]) -> list[Array]:
    """What a node gives for the values of all that it takes."""
    onnx, ort = need("onnx", extra="build"), need("onnxruntime", extra="build")
    names = [name for name in dict.fromkeys(node.input) if name]
    kinds = {name: onnx.helper.np_dtype_to_tensor_dtype(values[name].dtype) for name in names}
    inputs = [onnx.helper.make_tensor_value_info(name, kind, [None] * values[name].ndim) for name, kind in kinds.items()]
    outputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in node.output if name]
    made = onnx.helper.make_model(onnx.helper.make_graph([node], "node", inputs, outputs), opset_imports=model.opset_import, ir_version=model.ir_version)
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    session = ort.InferenceSession(made.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return [np.asarray(one) for one in session.run(None, {name: np.ascontiguousarray(values[name]) for name in names})]
