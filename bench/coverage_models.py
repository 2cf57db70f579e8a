"""The models of the coverage comparison, and what transformers itself makes of them: nothing here knows of mmedge or of any exporter.

``python bench/coverage_models.py FOLDER [ARCHITECTURE ...]`` writes, per architecture, ``checkpoint/`` (weights drawn at random, saved by transformers) and
``reference.npz`` with ``reference.json``: inputs as transformers names them, and the outputs of transformers' own ``forward`` or ``generate``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.generation.utils import GenerationMixin

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

TOKENS = 20
INPUTS = 3
"""Inputs per model, of other sizes where the model takes them; what is generated must differ, or it would prove nothing."""
PAIRS = ("CLIPModel", "ChineseCLIPModel", "SiglipModel", "Siglip2Model", "ClapModel")
"""Two towers that end in one space."""
ONE_PASS = ("ForCTC", "Classification", "ForQuestionAnswering", "ObjectDetection", "SemanticSegmentation")

Tensors = dict[str, torch.Tensor]


def kind_of(architecture: str) -> str:
    if architecture in PAIRS:
        return "pair"
    return "forward" if architecture.endswith(ONE_PASS) and architecture != "BlipForQuestionAnswering" else "generate"


def parts_of(architecture: str, inputs: Tensors) -> list[str]:
    """What must be there, by what it reads."""
    found = [name for name, key in (("image", "pixel_values"), ("audio", "input_features"), ("audio", "input_values")) if key in inputs]
    if architecture in PAIRS:
        return [*found, "text"]
    return [*found, "decoder", "cache"] if kind_of(architecture) == "generate" else found or ["text"]


def inputs_for(architecture: str, config: Any, index: int) -> Tensors:
    """Example ``index``: random pictures, sounds and texts of the sizes that the config names."""
    draw = torch.Generator().manual_seed(index)
    text = getattr(config, "text_config", config)
    vision = getattr(config, "vision_config", None) or getattr(config, "encoder", None) or config
    side = getattr(vision, "image_size", None) or 32

    def words(batch: int, length: int, low: int = 5, high: int | None = None) -> torch.Tensor:
        return torch.randint(low, high or min(text.vocab_size, 80), (batch, length), generator=draw)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    if architecture == "ClapModel":
        return {"input_features": noise(2, 1, 201, 64) * 20 - 30, **_masked(words(3, 6 + index))}
    if architecture == "Siglip2Model":
        shapes = torch.tensor([[4, 5], [2, 7]])
        mask = (torch.arange(20) < shapes.prod(1, keepdim=True)).long()
        return {"pixel_values": noise(2, 20, 192), "pixel_attention_mask": mask, "spatial_shapes": shapes, "input_ids": words(3, text.max_position_embeddings)}
    if architecture in PAIRS:
        given = {"pixel_values": noise(2, 3, side, side)}
        if "Siglip" in architecture:
            return {**given, "input_ids": words(3, text.max_position_embeddings)}
        ids = words(3, 6 + index)
        ids[:, -1] = text.eos_token_id if text.eos_token_id is not None else ids[:, -1]
        return {**given, **_masked(ids)}
    if "Qwen3VL" in architecture:
        return _qwen(config, noise, words, index)
    if "image_token_id" in config.to_dict() or "image_token_index" in config.to_dict():
        token = getattr(config, "image_token_id", None) or config.image_token_index
        places = (vision.image_size // vision.patch_size) ** 2 // getattr(config, "scale_factor", 1) ** 2
        ids = torch.cat([words(1, 2), torch.full((1, places), token), words(1, 4 + index)], 1)
        pixels = noise(1, 3, side, side)
        return {"pixel_values": pixels if "Llava" in architecture else pixels[:, None], **_masked(ids)}
    if architecture.startswith("Whisper"):
        return {"input_features": noise(1, config.num_mel_bins, 2 * config.max_source_positions)}
    if architecture.startswith("Moonshine"):
        return {"input_values": noise(1, 16000 + 3000 * index) * 0.1}
    if architecture.startswith("AST"):
        return {"input_values": noise(1, config.max_length, config.num_mel_bins)}
    if hasattr(config, "conv_dim"):
        return {"input_values": noise(1, 16000 + 3000 * index)}
    if architecture.startswith("Vilt"):
        return {"pixel_values": noise(1, 3, side, side), **_masked(words(1, 6 + index))}
    if any(part in architecture for part in ("Segformer", "Detr")):
        return {"pixel_values": noise(1, 3, 64, 64)}
    pictured = any(part in architecture for part in ("Blip", "Git", "VisionEncoderDecoder", "ViT"))
    given = {"pixel_values": noise(1, 3, side, side)} if pictured else {}
    return given if architecture.startswith(("ViT", "VisionEncoderDecoder")) else {**given, **_masked(words(1, 5 + index))}


def _masked(ids: torch.Tensor) -> Tensors:
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _qwen(config: Any, noise: Any, words: Any, index: int) -> Tensors:
    vision = config.vision_config
    rows, columns = 4, 4 + 2 * index
    patches = noise(rows * columns, vision.in_channels * vision.temporal_patch_size * vision.patch_size**2)
    places = rows * columns // vision.spatial_merge_size**2
    image = torch.tensor([[config.vision_start_token_id, *[config.image_token_id] * places, config.vision_end_token_id]])
    ids = torch.cat([words(1, 2), image, words(1, 4 + index)], 1)
    return {
        "pixel_values": patches,
        "image_grid_thw": torch.tensor([[1, rows, columns]]),
        "mm_token_type_ids": (ids == config.image_token_id).long(),
        **_masked(ids),
    }


def _worked_out(model: Any, inputs: Tensors) -> Tensors:
    """What Qwen3-VL's own code works out from the picture's shape alone, before any weight is used: an export may ask its host for it."""
    from transformers import vision_utils

    grid, tower = inputs["image_grid_thw"], model.model.visual
    indices, weights = vision_utils.get_vision_interpolation_indices_and_weights(
        grid,
        num_grid_per_side=tower.num_grid_per_side,
        mode=tower.interpolation_mode,
        align_corners=tower.interpolation_align_corners,
        spatial_merge_size=tower.config.spatial_merge_size,
    )
    places = vision_utils.get_vision_position_ids(grid, tower.spatial_merge_size)
    axes, _ = model.model.get_rope_index(inputs["input_ids"], mm_token_type_ids=inputs["mm_token_type_ids"], image_grid_thw=grid)
    return {"host/indices": indices.long(), "host/weights": weights.float(), "host/places": places, "host/mrope": axes}


def reference(model: Any, architecture: str, index: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[int]]:
    """(inputs, expected outputs, tokens that must not be chosen) of one example."""
    config = model.config
    inputs = inputs_for(architecture, config, index)
    expected: Tensors
    banned: list[int] = []
    with torch.no_grad():
        if kind_of(architecture) == "pair":
            texts = {key: value for key, value in inputs.items() if key in ("input_ids", "attention_mask")}
            others = {key: value for key, value in inputs.items() if key not in texts}
            tower = model.get_audio_features if "input_features" in inputs else model.get_image_features
            pooled = [getattr(found, "pooler_output", found) for found in (tower(**others), model.get_text_features(**texts))]
            expected = {"other": torch.nn.functional.normalize(pooled[0], dim=-1), "text": torch.nn.functional.normalize(pooled[1], dim=-1)}
        elif kind_of(architecture) == "forward":
            found = model(**inputs)
            expected = {key: found[key] for key in ("logits", "pred_boxes") if key in found}
        else:
            inputs, expected, banned = _generated(model, architecture, inputs)
    return *({key: value.numpy() for key, value in tensors.items()} for tensors in (inputs, expected)), banned


def _generated(model: Any, architecture: str, inputs: Tensors) -> tuple[Tensors, Tensors, list[int]]:
    """Exactly 20 greedy tokens: ends are forbidden. ``prompt`` is what the decoder begins with."""
    config = model.config
    text = getattr(config, "text_config", config)
    start = getattr(config, "decoder_start_token_id", None)
    ends = text.sep_token_id if architecture.startswith("Blip") else getattr(text, "eos_token_id", None)
    banned = [end for end in (ends if isinstance(ends, list) else [ends]) if end is not None] or [1]
    plain = transformers.GenerationConfig(
        eos_token_id=banned, pad_token_id=0, decoder_start_token_id=start, min_new_tokens=TOKENS, max_new_tokens=TOKENS, do_sample=False, use_cache=True
    )
    if architecture.startswith("Blip"):  # its generate hands on to the text decoder, which takes the config from there
        model.text_decoder.generation_config = plain
        given = dict(inputs)
        if architecture == "BlipForConditionalGeneration":
            given["input_ids"][:, 0] = text.bos_token_id
            given |= _masked(torch.cat([given["input_ids"], torch.tensor([[text.sep_token_id]])], 1))  # its generate drops the last
            prompt = given["input_ids"][:, :-1]
        else:
            prompt = torch.tensor([[text.bos_token_id]])
        said = model.generate(**given, min_new_tokens=TOKENS, max_new_tokens=TOKENS, max_length=None, do_sample=False)
        return {**inputs, "prompt": prompt}, {"tokens": said[:, prompt.shape[1] :][:, :TOKENS]}, banned
    if "Qwen3VL" in architecture:
        inputs |= _worked_out(model, inputs)
    model.generation_config = plain
    if config.is_encoder_decoder or "EncoderDecoder" in architecture:
        prompt = torch.tensor([[start if start is not None else 0]])
        said = GenerationMixin.generate(model, **inputs, decoder_input_ids=prompt, generation_config=plain)
    else:
        prompt = inputs["input_ids"]
        said = GenerationMixin.generate(model, **{key: value for key, value in inputs.items() if "/" not in key}, generation_config=plain)
    return {**inputs, "prompt": prompt}, {"tokens": said[:, prompt.shape[1] :]}, banned


def make(folder: Path, name: str, maker: Any) -> None:
    """``name``: an architecture of transformers, perhaps with a variant after a hyphen. Raises AssertionError: two inputs have one and the same output."""
    checkpoint = folder / name / "checkpoint"
    maker(checkpoint)
    architecture = name.partition("-")[0]
    model = getattr(transformers, architecture).from_pretrained(checkpoint, attn_implementation="eager").eval()
    arrays: dict[str, np.ndarray] = {}
    said = []
    for index in range(INPUTS):
        inputs, expected, banned = reference(model, architecture, index)
        arrays |= {f"{index}/in/{key}": value for key, value in inputs.items()} | {f"{index}/out/{key}": value for key, value in expected.items()}
        said.append(json.dumps([value.tolist() for value in expected.values()]))
    assert len(set(said)) == INPUTS, f"{name} says the same to everything"
    config = model.config
    token = getattr(config, "image_token_id", None) or getattr(config, "image_token_index", None)
    facts = {
        "kind": kind_of(architecture),
        "parts": parts_of(architecture, inputs_for(architecture, config, 0)),
        "banned": banned,
        "vocabulary": getattr(getattr(config, "text_config", getattr(config, "decoder", config)), "vocab_size", None),
        "image_token": token,
    }
    np.savez(folder / name / "reference.npz", **arrays)
    (folder / name / "reference.json").write_text(json.dumps(facts, indent=1))


LIKE_ANOTHER = (
    "MistralForCausalLM", "Qwen2ForCausalLM", "SmolLM3ForCausalLM", "GemmaForCausalLM", "HubertForCTC", "DetrForObjectDetection",
    "SegformerForSemanticSegmentation", "ViTForImageClassification",
)  # fmt: skip
"""Left out of the comparison, to keep it under an hour: relatives of those that are in it."""


def checkpoints() -> dict[str, Any]:
    """Name -> what writes its checkpoint. Heads are 16 wide: the attention that some exporters fuse takes multiples of 8, which published models have."""
    from checkpoints import chat, discovered, vlm

    chat.SIZES["hidden_size"] = vlm.TEXT["hidden_size"] = 64
    return {name: maker for name, maker in discovered().items() if name not in LIKE_ANOTHER}


def main(folder: Path, chosen: list[str]) -> None:
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name, maker in checkpoints().items():
        if name in chosen or not chosen:
            make(folder, name, maker)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
