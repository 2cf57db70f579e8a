"""ONNX files as the quantizers take them: with all weights in memory, and without what would be stale once nodes change."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.bundle import sha256_of
from mmedge.errors import MmedgeError, first_line
from mmedge.need import need
from mmedge.runner import Graph
from mmedge.tensors import Array

PROTOBUF_BYTES = 2 << 30
"""No protobuf message is larger."""
SMALL_BYTES = 1024
"""A tensor that stays in the ONNX file: shapes and scalars."""
MARK = "onnx.quant.pre_process"
FLOAT = 1
"""ONNX's number of float32."""


def load(graph: Graph, *, filled: bool = True) -> Any:
    """An ``onnx.ModelProto`` whose nodes all have names of their own, with constants as initializers.

    It has no inferred shapes: they would describe what was there before.

    Args:
        filled: with the tensors of the weights file in it.

    Raises:
        MmedgeError: no ONNX, a damaged weights file, or more than protobuf can hold.
    """
    onnx = need("onnx", extra="build")
    if filled and graph.size_bytes >= PROTOBUF_BYTES:
        raise MmedgeError(f"{graph.path.name} with its weights is larger than 2 GB, which the tools do not quantize", "leave it in fp32 or fp16")
    try:
        model = onnx.load(str(graph.path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError has no base but Exception
        raise MmedgeError(f"{graph.path} is not a valid ONNX file: {first_line(error)}", "get an undamaged copy") from error
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        node.name = node.name if node.name and node.name not in taken else f"{node.op_type}_{number}_unnamed"
        taken.add(node.name)
    _lift_constants(onnx, model)
    del model.graph.value_info[:]
    if filled:
        for tensor in model.graph.initializer:
            _fill(onnx, tensor, graph.path.parent)
    return model


def array_of(tensor: Any, folder: Path) -> Array:
    """A tensor's content. onnx's own reader takes no weights file that has a second hard link. Raises MmedgeError: that file is too short, or elsewhere."""
    onnx = need("onnx", extra="build")
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = folder / entries["location"]
    if Path(entries["location"]).name != entries["location"]:
        raise MmedgeError(f"{path} lies outside of the folder of its graph", "do not use this file")
    dtype, shape = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type), tuple(tensor.dims)
    count = int(np.prod(shape, dtype=np.int64))
    try:
        array = np.fromfile(path, dtype, count, offset=int(entries.get("offset", 0)))
    except OSError as error:
        raise MmedgeError(f"{path} cannot be read: {error.strerror}", "get an undamaged copy") from error
    if array.size != count:
        raise MmedgeError(f"{path} is too short for {tensor.name}", "get an undamaged copy")
    return np.asarray(array.reshape(shape))


def save(model: Any, graph: Graph, out: Path, name: str) -> tuple[Path, Path | None]:
    """Write a changed graph into ``out``, without the weights that nothing uses any longer; beside it a weights file where the graph had one.

    Returns:
        The ONNX file, and the weights file.

    Raises:
        MmedgeError: the changed graph is no valid ONNX.
    """
    onnx = need("onnx", extra="build")
    tidy(model)
    path = out / f"{graph.path.name.partition('.')[0]}-{name}.onnx"
    if graph.weights is None:
        onnx.save(model, str(path))
        return path, None
    apart = path.with_suffix(".bin")
    apart.unlink(missing_ok=True)
    onnx.save(model, str(path), save_as_external_data=True, location=apart.name, size_threshold=SMALL_BYTES)
    # A bundle calls files by their content, and the graph names its weights.
    weights = apart.rename(apart.with_suffix(f".{sha256_of(apart)[:8]}.bin"))
    described = onnx.load(str(path), load_external_data=False)
    for tensor in described.graph.initializer:
        for entry in tensor.external_data:
            entry.value = weights.name if entry.key == "location" else entry.value
    onnx.save(described, str(path))
    return path, weights


def as_products(model: Any) -> Any:
    """Write every Gemm that is one as a MatMul of the same name, with an Add behind it."""
    sums = {node.name for node in model.graph.node if node.op_type == "Gemm"}
    wrapped = need("onnxruntime.quantization.onnx_model", extra="build").ONNXModel(model)
    wrapped.replace_gemm_with_matmul()
    for node in wrapped.model.graph.node:
        if node.op_type == "MatMul" and (name := node.name.removesuffix("_MatMul")) in sums:
            node.name = name
    return wrapped.model


def mark(model: Any) -> None:
    """Tell onnxruntime's quantizers that a graph is ready for them; they log a warning otherwise."""
    model.metadata_props.add(key=MARK, value="onnxruntime.quant")


def reload(path: Path) -> Any:
    """What a quantizer has written as scratch, without its marks; the files are removed."""
    onnx = need("onnx", extra="build")
    model = onnx.load(str(path))
    unmark(model)
    for file in (path, path.with_name(f"{path.name}.data")):
        file.unlink(missing_ok=True)
    return model


def unmark(model: Any) -> None:
    """Take away what onnxruntime's quantizers leave in a graph for themselves."""
    for left in [prop for prop in model.metadata_props if prop.key in (MARK, "onnx.infer")]:
        model.metadata_props.remove(left)
    del model.graph.value_info[:]


def tidy(model: Any) -> None:
    """Remove nodes whose outputs nothing takes, then weights that nothing uses, and put the nodes into an order in which all is there before it is used."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output if name}
    wanted = [value.name for value in graph.output]
    order: dict[str, Any] = {}  # by a node's first output, which is its own
    waiting = [(makers[name], False) for name in reversed(wanted) if name in makers]
    while waiting:
        node, ready = waiting.pop()
        key = next(name for name in node.output if name)
        if ready:
            order[key] = node
        elif key not in order:
            waiting.append((node, True))
            waiting += [(makers[name], False) for name in used(node) if name in makers]
    ordered = type(graph)(node=order.values())
    del graph.node[:]
    graph.node.extend(ordered.node)
    names = {name for node in graph.node for name in used(node)} | set(wanted)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in names]:
        graph.initializer.remove(tensor)


def used(node: Any) -> Iterable[str]:
    """The names that a node takes, those that the graphs inside it take from around it included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from (name for inner in graph.node for name in used(inner))
            yield from (value.name for value in graph.output)


def constant(model: Any, name: str, array: Array) -> str:
    """Add a tensor to a graph. Returns its name, which is another one where that was taken."""
    onnx = need("onnx", extra="build")
    taken = {tensor.name for tensor in model.graph.initializer} | {name for node in model.graph.node for name in node.output}
    name = next(one for one in (name, *(f"{name} {number}" for number in range(2, len(taken) + 3))) if one not in taken)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array, order="C"), name))
    return name


def _lift_constants(onnx: Any, model: Any) -> None:
    """Tools look for weights among the initializers alone."""
    for node in [node for node in model.graph.node if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value"]:
        tensor = onnx.TensorProto()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        model.graph.initializer.append(tensor)
        model.graph.node.remove(node)


def _fill(onnx: Any, tensor: Any, folder: Path) -> None:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        tensor.CopyFrom(onnx.numpy_helper.from_array(array_of(tensor, folder), tensor.name))
