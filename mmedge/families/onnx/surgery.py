"""Take ONNX graphs apart: one branch of an If, the part behind some outputs, other names. Weights stay in their files until they are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmedge.errors import MmedgeError, first_line
from mmedge.need import need

PAST = re.compile(r"past_key_values\.(\d+)\.(?:(decoder|encoder)\.)?(key|value)")
PRESENT = re.compile(r"present(?:_key_values)?\.(\d+)\.(?:(decoder|encoder)\.)?(key|value)")


def read(path: Path) -> Any:
    """An onnx_ir model. Raises MmedgeError: no ONNX, damaged, or what it takes and gives is no tensor."""
    onnx, ir = need("onnx", extra="build"), need("onnx_ir", extra="build")
    try:
        onnx.checker.check_model(str(path))
        model = ir.load(str(path))
    except Exception as error:  # protobuf's DecodeError, onnx's ValidationError and onnx_ir's own share no base but Exception
        raise MmedgeError(f"{path} is not a valid ONNX file: {first_line(error)}", "get an undamaged copy, with the files of its weights beside it") from error
    for value in (*feeds(model), *model.graph.outputs):
        if value.shape is None or not isinstance(value.type, ir.TensorType):
            raise MmedgeError(f"{path}: {value.name} is no tensor with a shape", "export the model with declared shapes; sequences and maps are not taken")
    if is_small(model):
        ir.external_data.load_to_model(model)
    return model


def feeds(model: Any) -> list[Any]:
    """Inputs that are no weights: old files list those too."""
    return [value for value in model.graph.inputs if value.name not in model.graph.initializers]


def input_names(model: Any) -> list[str]:
    return [str(value.name) for value in feeds(model)]


def output_names(model: Any) -> list[str]:
    return [str(value.name) for value in model.graph.outputs]


def take_branch(model: Any, past: bool) -> None:
    """Replace the If node of a merged decoder by one of its branches, in place. Where the branch hands back what it was given, there is no such output."""
    graph = model.graph
    node = next(node for node in graph if node.op_type == "If")
    branch, other = (node.attributes[name].as_graph() for name in (("then_branch", "else_branch") if past else ("else_branch", "then_branch")))
    gives = dict(zip(node.outputs, branch.outputs))
    outputs = [(gives.get(value, value), value.name) for value in graph.outputs]
    for one in (graph, branch, other):
        one.outputs.clear()
    nodes, unwanted = list(branch), list(other)
    branch.remove(nodes)
    other.remove(unwanted, safe=True)  # or what it used would count as used
    for value in list(branch.initializers.values()):
        del branch.initializers[value.name]
        graph.register_initializer(value)
    graph.insert_before(node, nodes)
    graph.remove(node, safe=True)
    for value, name in outputs:
        if value.producer() is not None:
            value.name = name
            graph.outputs.append(value)


def keep(model: Any, outputs: Iterable[str]) -> None:
    """Only these outputs, and what they need, in place."""
    passes = need("onnx_ir.passes.common", extra="build")
    graph, wanted = model.graph, list(outputs)
    found = {value.name: value for value in graph.outputs}
    graph.outputs.clear()
    graph.outputs.extend(found[name] for name in wanted)
    passes.RemoveUnusedNodesPass()(model)
    for value in [value for value in graph.inputs if not value.uses() and not value.is_graph_output()]:
        graph.inputs.remove(value)


def rename(model: Any, names: Mapping[str, str]) -> None:
    """Give inputs and outputs other names, in place."""
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.name in names:
            value.name = names[value.name]


def cache_names(model: Any) -> dict[str, str]:
    """optimum's names of a decoder's cache -> those of ``mmedge.generate.cache``."""
    made: dict[str, str] = {}
    for value in feeds(model):
        if found := PAST.fullmatch(value.name):
            made[value.name] = f"{'cross' if found[2] == 'encoder' else 'past'}_{found[3]}_{found[1]}"
    for value in model.graph.outputs:
        if found := PRESENT.fullmatch(value.name):
            made[value.name] = f"{'cross' if found[2] == 'encoder' else 'present'}_{found[3]}_{found[1]}"
    return made


def is_small(model: Any) -> bool:
    """Whether it fits into one file, and into memory many times."""
    weights = [value.const_value for value in model.graph.initializers.values() if value.const_value is not None]
    return sum(tensor.nbytes for tensor in weights) < 256 << 20


def save(model: Any, path: Path) -> Path:
    """Write it to run it; where it is large, with its weights in a file beside it."""
    ir = need("onnx_ir", extra="build")
    if is_small(model):
        ir.save(model, str(path))
    else:
        ir.save(model, str(path), external_data=f"{path.name}.data")
    return path
