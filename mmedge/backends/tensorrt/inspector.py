"""What an engine says of its layers, through TensorRT's inspector: their types, kinds and the ONNX file's nodes in them.

The same JSON comes from ``trtexec --exportLayerInfo``. Read from examples that NVIDIA publishes of TensorRT 8 and 10 (trt-engine-explorer); never from an
engine that was opened here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmedge.errors import MmedgeError

TYPES = {
    "fp32": r"FP32|Float",
    "fp16": r"FP16|Half",
    "bf16": r"BF16|BFloat16",
    "fp8": r"FP8",
    "fp4": r"FP4",
    "int8": r"Int8|INT8",
    "int4": r"Int4|INT4",
}
"""mmedge's names of types -> the words for them in a tensor's ``Format/Datatype`` or in the type of weights."""

NARROW = ("int4", "fp4", "int8", "fp8", "fp16", "bf16", "fp32")
"""A layer over 8-bit tensors with a wider output multiplies 8-bit numbers: the narrowest is what it computes in."""

NO_WORK = {"Reformat", "NoOp", "Constant", "Signal", "Wait"}
NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")

NOT_TOLD = "not told: the engine was built without detailed profiling"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an engine, often several of the ONNX file's nodes."""

    name: str
    kind: str = "Layer"
    type: str | None = None
    """What it computes in; None where the engine does not tell, or for one that only moves data or computes indices."""
    weights: bool = False
    nodes: tuple[str, ...] = ()


def layers(document: str) -> tuple[Layer, ...]:
    """Read the inspector's JSON. Of an engine built without detailed profiling it has nothing but names.

    Raises:
        MmedgeError: it is no such JSON.
    """
    try:
        return tuple(_layer(entry) for entry in json.loads(document)["Layers"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MmedgeError(f"TensorRT's inspector gave no list of layers: {document[:80]!r}", "report it with the version of TensorRT") from error


def _layer(entry: Any) -> Layer:
    if isinstance(entry, str):
        return Layer(entry)
    kind = re.sub(r"\W", "", entry.get("LayerType", "")) or "Layer"
    weights = entry.get("Weights") or {}
    found = _types([weights.get("Type", "")] if weights.get("Count") else [])
    weighted = bool(found)
    for side in ("Inputs", "Outputs"):
        found = found or _types(str(tensor.get("Format/Datatype", "")) for tensor in entry.get(side) or ())
    narrowest = None if kind in NO_WORK else next((one for one in NARROW if one in found), None)
    return Layer(entry["Name"], kind, narrowest, weighted, tuple(NODE.findall(entry.get("Metadata") or "")))


def _types(texts: Any) -> set[str]:
    return {name for text in texts for name, words in TYPES.items() if re.search(rf"\b({words})\b", text)}


def holds(found: Sequence[Layer], precision: str) -> bool | None:
    """Whether any layer computes in ``precision``; None where the engine does not tell."""
    types = {layer.type for layer in found} - {None}
    return precision in types if types else None


def said(found: Sequence[Layer]) -> dict[str, str]:
    """For a report: ``precision`` is what most of the layers with weights compute in, else most of all; ``layers`` counts them."""
    counted = Counter(layer.type for layer in found if layer.type)
    if not counted:
        return {"precision": NOT_TOLD}
    weighted = Counter(layer.type for layer in found if layer.type and layer.weights)
    return {
        "precision": (weighted or counted).most_common(1)[0][0],
        "layers": ", ".join(f"{count} in {name}" for name, count in counted.most_common()),
    }
