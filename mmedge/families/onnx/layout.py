"""What the files of a folder are to each other. Part of export."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmedge.errors import MmedgeError
from mmedge.families.onnx import surgery

DECODERS = ("decoder_model_merged", "decoder_model", "decoder_with_past_model")
SPEECH, VISION = ("whisper",), ("vision-encoder-decoder",)
"""Model types whose encoder and decoder have a verb."""


@dataclass
class Parts:
    """Graphs ready to be named, each an onnx_ir model with its original names; and for decoders how the original reads a prompt."""

    kind: str
    models: dict[str, Any] = field(default_factory=dict)
    takes: str = ""
    prompt: Path | None = None
    """The file that reads a whole text without a cache: what the rewritten decoder is held against."""
    merged: bool = False
    """Whether that file is a merged one."""


def files(folder: Path) -> dict[str, Path]:
    """The ONNX files by name, from the folder or its ``onnx/``. Variants (``model_quantized``) are others' compressions of the plain ones."""
    for where in (folder, folder / "onnx"):
        if found := {path.stem: path for path in sorted(where.glob("*.onnx"))}:
            return found
    raise MmedgeError(f"{folder} holds no ONNX file", "name the folder that optimum-cli wrote")


def parts(folder: Path, config: dict[str, Any]) -> Parts:
    """Raises MmedgeError: a file is damaged, or one that belongs to the others is missing."""
    found = files(folder)
    decoders = [name for name in DECODERS if name in found]
    if ("encoder_model" in found or decoders) and config.get("model_type") in (*SPEECH, *VISION):
        return _encoder_decoder(folder, found, decoders, config)
    single = next((found[name] for name in ("model", *DECODERS[:2]) if name in found), None)
    if single is not None and "encoder_model" not in found:
        model = surgery.read(single)
        if any(surgery.PAST.fullmatch(name) for name in surgery.input_names(model)):
            return _language(single, model)
        if {"text_embeds", "image_embeds"} <= set(surgery.output_names(model)):
            return _dual(single)
        if takes := _classifies(model):
            return Parts("classifier", {"classifier": model}, takes)
    if {"text_model", "vision_model"} <= set(found):
        models = {"image_encoder": surgery.read(found["vision_model"]), "text_encoder": surgery.read(found["text_model"])}
        if "image_embeds" in surgery.output_names(models["image_encoder"]) and "text_embeds" in surgery.output_names(models["text_encoder"]):
            surgery.keep(models["image_encoder"], ["image_embeds"])
            surgery.keep(models["text_encoder"], ["text_embeds"])
            return Parts("dual", models)
    plain = {name: path for name, path in found.items() if not re.search(r"_(fp16|bnb4|q4|q4f16|int8|uint8|quantized)$", name)} or found
    return Parts("plain", {graph_name(name): surgery.read(path) for name, path in plain.items()})


def graph_name(stem: str) -> str:
    """A file's name as a graph's."""
    return re.sub(r"^[^a-z]+", "", re.sub(r"[^a-z0-9_]+", "_", stem.lower())) or "model"


def _encoder_decoder(folder: Path, found: dict[str, Path], decoders: list[str], config: dict[str, Any]) -> Parts:
    merged = "decoder_model_merged" in decoders
    if "encoder_model" not in found:
        raise MmedgeError(f"{folder} lacks encoder_model.onnx", "get it: a decoder alone hears and sees nothing")
    if not decoders:
        raise MmedgeError(f"{folder} lacks {DECODERS[0]}.onnx", "get it, or export with a task that ends in -with-past")
    if not merged and len(decoders) < 2:
        missing = next(name for name in DECODERS[1:] if name not in decoders)
        raise MmedgeError(f"{folder} lacks {missing}.onnx", "get it, or export with a task that ends in -with-past")
    first, later = (found["decoder_model_merged"],) * 2 if merged else (found["decoder_model"], found["decoder_with_past_model"])
    prompt, step = surgery.read(first), surgery.read(later)
    if merged:
        surgery.take_branch(prompt, past=False)
        surgery.take_branch(step, past=True)
    models = {"encoder": surgery.read(found["encoder_model"])}
    cross = [name for name in surgery.output_names(prompt) if ".encoder." in name]
    if cross:
        surgery.keep(prompt, cross)
        models["cross"] = prompt
    surgery.keep(step, [name for name in surgery.output_names(step) if ".encoder." not in name])
    return Parts("speech" if config["model_type"] in SPEECH else "captioner", {**models, "decoder": step}, prompt=first, merged=merged)


def _language(path: Path, model: Any) -> Parts:
    merged = any(node.op_type == "If" and "then_branch" in node.attributes for node in model.graph) and "use_cache_branch" in surgery.input_names(model)
    if merged:
        surgery.take_branch(model, past=True)
    surgery.keep(model, surgery.output_names(model))
    return Parts("chat", {"language": model}, prompt=path, merged=merged)


def _dual(path: Path) -> Parts:
    models = {}
    for name, output in (("image_encoder", "image_embeds"), ("text_encoder", "text_embeds")):
        models[name] = surgery.read(path)
        surgery.keep(models[name], [output])
    return Parts("dual", models)


def _classifies(model: Any) -> str:
    """What a graph with one row of scores is about; empty for others."""
    outputs, inputs = list(model.graph.outputs), surgery.feeds(model)
    if [value.name for value in outputs] != ["logits"] or len(outputs[0].shape) != 2:
        return ""
    names = {value.name for value in inputs}
    for takes, main in (("image", "pixel_values"), ("audio", "input_values"), ("text", "input_ids")):
        if main in names and names <= {main, "attention_mask", "token_type_ids"} and (takes == "text" or len(names) == 1):
            return takes
    return ""
