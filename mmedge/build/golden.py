"""Golden data: the same few real inputs for every model, and what the reference made of them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from mmedge import manifest, runner
from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError, first_line
from mmedge.family import Media, OnnxGraph
from mmedge.need import need
from mmedge.tensors import Array

TEXTS = {"text_1": "a cat", "text_2": "a cup of coffee on a table", "text_3": "Is there a bicycle in front of the house?"}
FILES = {"cat": "cat.jpg", "coffee": "coffee.jpg", "question": "question.wav", "remark": "remark.wav"}

SMALL_BYTES = 10 << 20
"""The reference evaluator is numpy, operator by operator: above this size it would take minutes."""

LACKING = ("No implementation for operator", "No default implementation for operator", "Except for dimension", "Issues with types")
"""What it says of an operator that it knows in other versions than the file's; of a GatherElements with fewer indexes than there is to gather from, as Piper's
voices have; of an operator without its optional inputs, as NonMaxSuppression. The errors are a plain RuntimeError, ValueError and TypeError."""


def media() -> Media:
    """Golden inputs by name: two photographs, two sounds, three texts."""
    folder = Path(str(resources.files("mmedge") / "golden"))
    return {**{name: folder / file for name, file in FILES.items()}, **TEXTS}


def store_media(bundle: Bundle) -> dict[str, manifest.File | str]:
    """Copy the golden inputs into the bundle: it must explain itself without this package."""
    folder = media()
    return {**{name: bundle.add("golden", file, folder[name]) for name, file in FILES.items()}, **TEXTS}


def reference_outputs(graph: runner.Graph, source: OnnxGraph) -> tuple[dict[str, Array], str]:
    """What a model that already is ONNX should give, by an evaluator that optimises nothing; and its name."""
    outputs, name = (graph.size_bytes <= SMALL_BYTES and _by_definition(graph, source)) or _unoptimised(graph, source)
    return dict(zip((spec.name for spec in graph.outputs), map(np.asarray, outputs))), name


def _by_definition(graph: runner.Graph, source: OnnxGraph) -> tuple[list[Any], str] | None:
    """By numpy, operator by operator. None: the evaluator lacks one of them, such as DequantizeLinear before opset 19.

    Raises:
        MmedgeError: it has them all and fails, as where the file breaks the definition of one.
    """
    onnx, reference = need("onnx", extra="build"), need("onnx.reference", extra="build")
    try:
        outputs = reference.ReferenceEvaluator(str(graph.path)).run(None, source.feeds)
    except Exception as error:  # as many kinds as operators
        if _lacking(error):
            return None
        raise MmedgeError(
            f"{graph.path.name} cannot be computed as onnx {onnx.__version__} defines it: {first_line(error)}",
            "have onnx.checker.check_model look at the file; if it finds nothing, report it",
        ) from error
    return outputs, f"onnx {onnx.__version__} reference evaluator"


def _lacking(error: Exception) -> bool:
    """Whether the evaluator has no implementation of an operator, at all or of what the file wants of it."""
    context = need("onnx.reference.op_run", extra="build").RuntimeContextError
    return isinstance(error, (NotImplementedError, context)) or str(error).startswith(LACKING)


def _unoptimised(graph: runner.Graph, source: OnnxGraph) -> tuple[list[Any], str]:
    ort = need("onnxruntime", extra="build")
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(graph.path), settings, providers=["CPUExecutionProvider"])
    return session.run(None, source.feeds), f"onnxruntime {ort.__version__} without optimisation"
