"""What of a graph computes with integers, by the runtime's own word: a file may hold integers that are turned back before anything is computed."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

from mmedge.features import INTEGER_FLAGS, cpu_flags
from mmedge.need import need
from mmedge.optimize.proto import FLOAT

WEIGHTED = {"Conv": 1, "ConvTranspose": 1, "MatMul": 1, "Gemm": 1, "LSTM": 1, "GRU": 1, "RNN": 1, "Gather": 0}
"""Operator -> the input that is its weight. What the time, and with large tables the bytes, go to."""

LARGE_BYTES = 1 << 20
"""Smaller tables cost too little to be worth a rounding error: positions, kinds of tokens."""

INTEGER = {"MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "ConvInteger", "QLinearMatMul", "QLinearConv", "QGemm"}
INTEGER |= {"MatMulNBits"}
"""ONNX Runtime's operators that compute with integer weights, as they are once it has optimised a graph."""


def weights_of(model: Any) -> dict[str, str]:
    """Nodes with a constant weight in fp32 -> its name; a transposed constant is one too, a table that rows are looked up in only where it is large."""
    constants = {tensor.name for tensor in model.graph.initializer if tensor.data_type == FLOAT and len(tensor.dims) > 1}
    turned = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Transpose" and node.input[0] in constants}
    factors = {name: name for name in constants} | turned
    large = {tensor.name for tensor in model.graph.initializer if 4 * prod(tensor.dims) >= LARGE_BYTES}
    found = {}
    for node in model.graph.node:
        index = WEIGHTED.get(node.op_type)
        if index is not None and len(node.input) > index and node.input[index] in factors and (node.op_type != "Gather" or node.input[index] in large):
            found[node.name] = factors[node.input[index]]
    return found


def is_transformer(model: Any) -> bool:
    """Whether a graph multiplies what it has computed with what it has computed, as attention does."""
    constants = {tensor.name for tensor in model.graph.initializer}
    turned = {node.output[0] for node in model.graph.node if node.op_type == "Transpose" and node.input[0] in constants}
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    return any(not (constants | turned) & set(node.input) for node in products) or any("Attention" in node.op_type for node in model.graph.node)


def ort_operators(path: Path) -> Counter[str]:
    """The operators with integer weights that ONNX Runtime makes of a graph on this CPU. Raises what the runtime raises where it refuses the graph."""
    ort, onnx = need("onnxruntime", extra="build"), need("onnx", extra="build")
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    optimised = path.with_name(f"{path.stem}.optimised.onnx")
    settings.optimized_model_filepath = str(optimised)
    settings.add_session_config_entry("session.optimized_model_external_initializers_file_name", f"{optimised.name}.data")
    try:
        ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        nodes = onnx.load(str(optimised), load_external_data=False).graph.node
        return Counter(node.op_type for node in nodes if node.op_type in INTEGER)
    finally:
        for left in (optimised, optimised.with_name(f"{optimised.name}.data")):
            left.unlink(missing_ok=True)


def saturates() -> bool:
    """Whether products of 8 bits are added up in 16 bits here, as x86 CPUs without VNNI do: weights then take 7 bits."""
    flags = cpu_flags()
    return "avx2" in flags and not set(flags) & set(INTEGER_FLAGS)
