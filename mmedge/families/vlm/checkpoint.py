"""A checkpoint folder -> what the session must know. Part of export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from mmedge.documents import read_plain
from mmedge.errors import MmedgeError
from mmedge.families.vlm import Config, Kind, Options
from mmedge.generate.template import ChatTemplate
from mmedge.processors.pixels import ImageSettings
from mmedge.processors.qwen_pixels import QwenSettings
from mmedge.processors.tiles import TileSettings

IMAGE_TOKENS: dict[Kind, str] = {"idefics3": "<image>", "llava": "<image>", "qwen3_vl": "<|image_pad|>"}
ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions that are the same for every length of text."""
LLAVA_TOWERS = ("clip_vision_model", "siglip_vision_model")


def read_config(folder: Path, options: Options, model: Any, kind: Kind, tokenizer: bytes | None, template: ChatTemplate | None) -> Config:
    """``image_tokens`` is left at 0: that takes a look at a picture.

    Raises:
        MmedgeError: files that are damaged, or do not belong to this model.
    """
    said = read_plain(folder / "tokenizer_config.json", required=False)
    processor = read_plain(folder / "processor_config.json", required=False)
    image_token = _named(said, "image_token") or processor.get("image_token") or IMAGE_TOKENS[kind]
    image_token_id = int(model.config.image_token_id)
    if tokenizer is not None and (found := Tokenizer.from_str(tokenizer.decode()).token_to_id(image_token)) != image_token_id:
        raise MmedgeError(
            f"the tokenizer's {image_token} is token {found}, the model's image token is {image_token_id}", "get the tokenizer that belongs to the checkpoint"
        )
    raw = _image_processor(folder, processor)
    stop, suppress = _never_and_last(model)
    own = _tiles(raw, options, model, said) if kind == "idefics3" else _picture(raw, model) if kind == "llava" else _patches(raw, options, model)
    return Config(
        kind=kind,
        tokenizer=tokenizer is not None,
        template=template is not None,
        processor=raw is not None,
        image_token=image_token,
        image_token_id=image_token_id,
        **own,
        special_tokens=template.tokens if template else {},
        stop=stop,
        suppress=suppress,
        positions=_positions(folder, model.config.text_config),
        caption_prompt=options.caption_prompt,
    )


def _positions(folder: Path, text: Any) -> int:
    """The most tokens for which full causal attention is what the language model does. Raises MmedgeError: there is no such length."""
    if other := sorted(set(getattr(text, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}):
        raise MmedgeError(f"the language model of {folder} attends by {other[0]}, which a causal mask cannot express", "use a model with full attention")
    turned = (getattr(text, "rope_parameters", None) or {}).get("rope_type", "default")
    if turned not in ROTATIONS:
        raise MmedgeError(
            f"the language model of {folder} turns positions by {turned}, which depends on the length of the text", f"use one of: {', '.join(ROTATIONS)}"
        )
    return min(int(text.max_position_embeddings), int(getattr(text, "sliding_window", None) or text.max_position_embeddings))


def _image_processor(folder: Path, processor: dict[str, Any]) -> dict[str, Any] | None:
    """Newer versions of transformers write it into the file of the whole processor."""
    inner = processor.get("image_processor")
    if (folder / "preprocessor_config.json").is_file():
        content: dict[str, Any] = read_plain(folder / "preprocessor_config.json")
        return content
    return inner if isinstance(inner, dict) else None


def _tiles(raw: dict[str, Any] | None, options: Options, model: Any, said: dict[str, Any]) -> dict[str, Any]:
    vision = model.config.vision_config
    given = raw if raw is not None else {"max_image_size": {"longest_edge": vision.image_size}, "size": {"longest_edge": 4 * vision.image_size}}
    settings = TileSettings.from_preprocessor(given, split=options.image_splitting)
    if settings.side % (vision.patch_size * model.config.scale_factor):
        raise MmedgeError(
            f"the image processor's tiles of {settings.side} pixels do not fit the model's patches of {vision.patch_size}",
            "get the image processor that belongs to the checkpoint",
        )
    names = {"around_token": "fake_image_token", "whole_token": "global_image_token"}
    return {"tiles": settings, **{field: found for field, name in names.items() if (found := _named(said, name)) is not None}}


def _picture(raw: dict[str, Any] | None, model: Any) -> dict[str, Any]:
    vision = model.config.vision_config
    if vision.model_type not in LLAVA_TOWERS:
        raise MmedgeError(f"a LLaVA with a vision tower of type {vision.model_type} is not supported", f"supported: {', '.join(LLAVA_TOWERS)}")
    size = {"height": int(vision.image_size), "width": int(vision.image_size)}
    settings = ImageSettings.from_preprocessor(
        raw if raw is not None else {"image_processor_type": vision.model_type, "size": size, "crop_size": size, "do_center_crop": False}
    )
    made = settings.crop or settings.resize
    if made != (vision.image_size, vision.image_size):
        raise MmedgeError(
            f"the image processor makes pictures of {made}, the vision tower takes {vision.image_size} x {vision.image_size}",
            "get the image processor that belongs to the checkpoint",
        )
    return {"picture": settings}


def _patches(raw: dict[str, Any] | None, options: Options, model: Any) -> dict[str, Any]:
    vision = model.config.vision_config
    sizes = {"patch_size": vision.patch_size, "temporal_patch_size": vision.temporal_patch_size, "merge_size": vision.spatial_merge_size}
    settings = QwenSettings.from_preprocessor(raw if raw is not None else sizes, max_pixels=options.max_pixels)
    if (settings.patch, settings.frames, settings.merge) != tuple(sizes.values()):
        raise MmedgeError(
            f"the image processor's patches {settings.patch} x {settings.frames}, merged by {settings.merge}, are not the model's {tuple(sizes.values())}",
            "get the image processor that belongs to the checkpoint",
        )
    return {"patches": settings, "grid_side": int(vision.num_position_embeddings**0.5), "deepstack": len(vision.deepstack_visual_indexes)}


def _named(tokenizer_config: dict[str, Any], name: str) -> str | None:
    """A token that tokenizer_config.json names, in any of the places that versions of transformers have for it."""
    for place in (tokenizer_config, tokenizer_config.get("extra_special_tokens"), tokenizer_config.get("model_specific_special_tokens")):
        value = place.get(name) if isinstance(place, dict) else None
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            return value
    return None


def _never_and_last(model: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(tokens that end a text, tokens that are never said), as ``generate`` takes them from the checkpoint."""
    settings = model.generation_config
    last = settings.eos_token_id if settings.eos_token_id is not None else model.config.text_config.eos_token_id
    never = {*(settings.suppress_tokens or ()), *(words[0] for words in settings.bad_words_ids or () if len(words) == 1)}
    return (() if last is None else (last,) if isinstance(last, int) else tuple(last)), tuple(sorted(never))
