"""What a graph that is quantized for TensorRT leaves in floating point: in fp16 where the graph's own fp16 variant is, else in fp32.

A strongly typed engine computes what the graph says, so integers alone would leave norms and attention in fp32. Scales in fp16 need opset 19.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.need import need
from mmedge.optimize import fp16, proto
from mmedge.runner import Graph

Floats = NDArray[np.floating]

VARIANT = "fp16"
HALF_SCALES_OPSET = 19
"""The first in which scales may be in fp16."""


def load(graph: Graph, opset: int = 0) -> Any:
    """As ``proto.load``, in the lowest opset that is no lower than the graph's, ``opset``, and what its variant in fp16 asks for.

    Raises:
        MmedgeError: as ``proto.load``.
    """
    onnx = need("onnx", extra="build")
    model = proto.load(graph)
    wanted = max(opset, HALF_SCALES_OPSET if VARIANT in graph.variants else 0)
    if max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")) < wanted:
        model = onnx.version_converter.convert_version(model, wanted)
        del model.graph.value_info[:]
    return model


def scales_for(largest: Floats, most: int) -> Floats:
    """What one step is, in float32: the smallest that fp16 holds too and with which ``most`` steps reach ``largest``; 1 where that is 0."""
    exact = np.where(largest > 0, largest / most, 1.0).astype(np.float32)
    with np.errstate(over="ignore"):
        half = exact.astype(np.float16)
    half = np.where(half < exact, np.nextafter(half, np.float16(np.inf)), half)
    return np.where(np.isfinite(half), half, exact).astype(np.float32)


def save(model: Any, graph: Graph, out: Path, name: str) -> tuple[Path, Path | None]:
    """As ``proto.save``, with what is not in integers in the types of the graph's variant in fp16, if it has one.

    Raises:
        MmedgeError: as ``proto.save`` and ``fp16.half``.
    """
    if VARIANT not in graph.variants:
        return proto.save(model, graph, out, name)
    onnx = need("onnx", extra="build")
    proto.tidy(model)
    before, after = out / "floats.onnx", out / "halves.onnx"
    onnx.save(model, str(before))
    fp16.half(before, after, keep_float=_kept(model, graph.variants[VARIANT].path))
    made = onnx.load(str(after))
    before.unlink()
    after.unlink()
    del made.graph.value_info[:]
    return proto.save(made, graph, out, name)


def _kept(model: Any, variant: Path) -> set[str]:
    """Names of the nodes whose results the variant has in fp32, and of the pairs that nothing else takes."""
    float32 = need("onnx_ir", extra="build").DataType.FLOAT
    there = {value.name: node.op_type for node in fp16.load(variant).graph for value in node.outputs if value.dtype == float32}
    kept = {node.name for node in model.graph.node if any(there.get(name) == node.op_type for name in node.output)}
    takers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    for kind in ("DequantizeLinear", "QuantizeLinear"):
        kept |= {node.name for node in model.graph.node if node.op_type == kind and all(user.name in kept for user in takers.get(node.output[0], ()))}
    return kept
