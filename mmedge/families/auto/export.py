"""Checkpoint -> what transformers.exporters makes of it, with the encoders that it leaves out, every graph held against its module."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from torch import Tensor
from transformers.exporters.configs import OnnxConfig
from transformers.exporters.exporter_onnx import OnnxExporter
from transformers.exporters.utils import decompose_for_generation, prepare_for_export

from mmedge.errors import GateFailed, MmedgeError, first_line
from mmedge.families.auto import Config, Options
from mmedge.family import Allow, Exported, Media, TorchGraph
from mmedge.need import need
from mmedge.nets.checkpoint import load, load_config
from mmedge.nets.examples import by_rule, from_media
from mmedge.nets.flat import Flat, Positional, shapes

OPSET = 18
MEDIA = (("text_2", "text_3"), ("cat", "coffee"), ("question", "remark"))

Components = dict[str, tuple[Any, dict[str, Any]]]
"""Graph -> module, and the keyword arguments of a real call."""


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """The graphs of any model that transformers can load and export.

    Raises:
        MmedgeError: the checkpoint is damaged, or the architecture cannot be exported.
        GateFailed: an output has no name, or depends on no input.
    """
    config = load_config(folder, allow)
    architecture = _architecture(config)
    model = load(architecture, folder, allow)
    torch.manual_seed(0)
    inputs = [from_media(folder, model, media, *(list(names[:count]) for names in MEDIA)) for count in (2, 1)]
    source: Literal["processor", "rule"] = "processor" if all(inputs) else "rule"
    if source == "rule":
        inputs = [by_rule(model, batch=2, tokens=7), by_rule(model, batch=1, tokens=5, seed=1)]
    with _quietly():
        first, second = (_components(architecture, model, one) for one in inputs)
        graphs = {name: _graph(architecture, name, model, *first[name], *second[name]) for name in first}
    return Exported(graphs=dict(graphs), assets={}, config=Config(architecture=architecture, examples=source, graphs=tuple(graphs)), cases=[])


def _architecture(config: Any) -> str:
    named = getattr(config, "architectures", None)
    if named:
        return str(named[0])
    found = transformers.models.auto.modeling_auto.MODEL_MAPPING_NAMES.get(config.model_type)
    if found is None:
        raise MmedgeError(f"config.json names no architecture, and {config.model_type} alone says too little", 'write it there: "architectures": ["..."]')
    return str(found if isinstance(found, str) else found[0])


def _components(architecture: str, model: Any, inputs: dict[str, Tensor]) -> Components:
    """What to export: the model, or where it generates the parts that generating calls."""
    if not model.can_generate():
        return {"model": (model, dict(inputs))}
    given = {key: value for key, value in inputs.items() if key != "decoder_input_ids"}
    try:
        parts: Components = decompose_for_generation(model, copy.deepcopy(given), multi_token_decode=True)
    except Exception as error:  # transformers wraps whatever generating met
        raise _cannot(architecture, "be taken apart", error) from error
    if model.config.is_encoder_decoder and "encoder" not in parts:
        taken = {key: value for key, value in given.items() if key in (getattr(model, "main_input_name", ""), "attention_mask", "bbox")}
        parts = {"encoder": (model.get_encoder(), taken), **parts}  # transformers runs it, and leaves it out
    return parts


def _graph(architecture: str, name: str, model: Any, module: Any, inputs: dict[str, Any], _: Any, others: dict[str, Any]) -> TorchGraph:
    module, ready, flags = prepare_for_export(module, inputs)
    flat = Flat(module, model, {**ready, **flags}).eval()
    one = Flat(module, model, {**prepare_for_export(module, others)[1], **flags}).eval()
    made, outputs = _traced(architecture, name, flat, OnnxConfig(opset_version=OPSET, dynamic=True, dynamic_shapes=shapes(flat.tensors())))
    tensors, other = flat.tensors(), one.tensors()
    if other.keys() != tensors.keys() or not all(_fits(made, key, value) for key, value in other.items()):
        # Some size that should be free is not: then one example, as it is, is all that is promised.
        made, outputs = _traced(architecture, name, one, OnnxConfig(opset_version=OPSET))
        flat, tensors, other = one, other, {}
    _connected(architecture, name, made, outputs)
    read = _drop_unread(made)
    _name_sizes(made)
    program = torch.onnx.ONNXProgram(made, None)
    module = Positional(flat, read, (one,))
    return TorchGraph(module, {key: tensors[key] for key in read}, outputs, other={key: other[key] for key in read} if other else None, program=program)


def _traced(architecture: str, name: str, flat: Flat, settings: OnnxConfig) -> tuple[Any, tuple[str, ...]]:
    with torch.no_grad():
        outputs = tuple(flat(**flat.tensors()))
    try:
        exporter: Any = OnnxExporter()
        return exporter.export_program(flat, flat.tensors(), settings)[0], outputs
    except Exception as error:  # torch.export and torch.onnx wrap whatever tracing met
        raise _cannot(architecture, f"be exported ({name})", error) from error


def _connected(architecture: str, name: str, made: Any, outputs: tuple[str, ...]) -> None:
    """Every output has the name that the model gives it, and something of the inputs in it."""
    found = tuple(value.name for value in made.graph.outputs)
    if found != outputs:
        raise GateFailed(
            f"{name} of {architecture} came out with outputs {', '.join(map(str, found))} instead of {', '.join(outputs)}", "report it with the model"
        )
    fed = set(made.graph.inputs)
    for node in made.graph:
        if any(value in fed for value in node.inputs) or any(attribute.type.name in ("GRAPH", "GRAPHS") for attribute in node.attributes.values()):
            fed.update(node.outputs)
    if loose := [str(value.name) for value in made.graph.outputs if value not in fed]:
        raise GateFailed(f"the output {loose[0]} of {name} of {architecture} depends on no input", "report it with the model: a part of it got lost")


def _drop_unread(made: Any) -> tuple[str, ...]:
    """The names of the inputs that are left: a step is given the encoder's states though its cache holds all that it reads of them."""
    need("onnx_ir", extra="build").passes.common.RemoveUnusedNodesPass()(made)
    for value in [value for value in made.graph.inputs if not value.uses()]:
        made.graph.inputs.remove(value)
    return tuple(value.name for value in made.graph.inputs)


def _name_sizes(made: Any) -> None:
    """torch calls the dynamic sizes s72, s53: call them by what they are, in sums and products too."""
    names: dict[str, str] = {}
    for value in made.graph.inputs:
        for axis, size in enumerate(value.shape):
            if not isinstance(size, int) and size.value not in names:
                names[size.value] = _size_name(value.name, axis, names)
    if not names:
        return
    pattern, shape_of = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b"), type(made.graph.inputs[0].shape)
    for value in [*made.graph.inputs, *(value for node in made.graph.all_nodes() for value in node.outputs)]:
        if value.shape is not None:
            told = [size if isinstance(size, int) or size.value is None else pattern.sub(lambda found: names[found[1]], size.value) for size in value.shape]
            value.shape = shape_of(told)


def _size_name(tensor: str, axis: int, taken: dict[str, str]) -> str:
    if axis == 0:
        return "batch"
    if tensor.startswith(("past_", "cross_")):
        return tensor.partition("_")[0]
    return f"{tensor}_{axis}" if "tokens" in taken.values() else "tokens"


def _fits(made: Any, key: str, tensor: Tensor) -> bool:
    shape = next(value.shape for value in made.graph.inputs if value.name == key)
    return len(shape) == tensor.dim() and all(not isinstance(size, int) or size == have for size, have in zip(shape, tensor.shape))


def _cannot(architecture: str, what: str, error: BaseException) -> MmedgeError:
    while error.__cause__ is not None:
        error = error.__cause__
    said = first_line(error) if isinstance(error, Exception) else type(error).__name__
    return MmedgeError(
        f"{architecture} cannot {what} by transformers {transformers.__version__}: {said}",
        'write its graphs yourself: a recipe with module = "package.module:factory"',
    )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """torch and transformers report every step, to stdout too."""
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "torch.export", "torch._export", "torch")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
