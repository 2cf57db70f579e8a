"""Ways to write a bundle differently that change nothing of what it computes: a check that refuses one of them raises a false alarm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from faults import planting
from faults.kinds import Kind, Random, graphs
from onnx import TensorProto, helper, numpy_helper


def _renamed(model: Any, random: Random) -> str:
    for index, node in enumerate(model.graph.node):
        node.name = f"renamed {index}"
    return "nodes renamed"


def _reordered(model: Any, random: Random) -> str:
    tensors = [TensorProto.FromString(tensor.SerializeToString()) for tensor in model.graph.initializer]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors[index] for index in random.permutation(len(tensors)))
    return "weights in another order"


def _unused(model: Any, random: Random) -> str:
    model.graph.initializer.append(numpy_helper.from_array(random.standard_normal(100).astype(np.float32), "nobody takes this"))
    return "a weight that no node takes"


def _passed_on(model: Any, random: Random) -> str:
    output = model.graph.output[random.integers(len(model.graph.output))].name
    for node in model.graph.node:
        node.output[:] = [f"{name} made" if name == output else name for name in node.output]
        node.input[:] = [f"{name} made" if name == output else name for name in node.input]
    model.graph.node.append(helper.make_node("Identity", [f"{output} made"], [output]))
    return f"{output} through an Identity"


def _described(model: Any, random: Random) -> str:
    model.doc_string = "another text"
    model.producer_name = "another exporter"
    return "another producer"


def _harmless(change: Callable[[Any, Random], str]) -> Kind:
    def kind(bundle: Path, random: Random) -> str | None:
        name = str(random.choice(graphs(bundle)))
        return f"{name}: {planting.graph(bundle, name, lambda model: change(model, random))}"

    return kind


def _indented(bundle: Path, random: Random) -> str | None:
    planting.asset(bundle, "tokenizer.json", lambda content: json.dumps(json.loads(content), indent=4, ensure_ascii=True).encode())
    return "tokenizer.json written another way"


HARMLESS: dict[str, Kind] = {
    "nodes renamed": _harmless(_renamed),
    "weights reordered": _harmless(_reordered),
    "a weight for nobody": _harmless(_unused),
    "an Identity": _harmless(_passed_on),
    "another producer": _harmless(_described),
    "the tokenizer rewritten": _indented,
}
