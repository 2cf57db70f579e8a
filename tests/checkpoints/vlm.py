"""Small models that talk about pictures: SmolVLM, Idefics3, LLaVA, Qwen3-VL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

from . import spread

TEXTS = ["Can you describe this image?", "Is there a bicycle in front of the house?", "User: Assistant: system user assistant a cat a cup of coffee on a table"]
SIDE, PATCH = 32, 8
TEXT = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": SIDE, "patch_size": PATCH}

LLAVA_TEMPLATE = """{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] if part['type'] == 'image' %}<image>
{% endfor %}{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}{% endfor %}
{% if add_generation_prompt %}ASSISTANT:{% endif %}"""
QWEN_TEMPLATE = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}
<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

IDEFICS3_TOKENS = ["<fake_token_around_image>", "<image>", "<global-img>", "<|im_start|>", "<end_of_utterance>"]
IDEFICS3_TOKENS += [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]


def tokenizer(special: list[str], begin: str, end: str, template: str, *, adds_begin: bool = False) -> transformers.PreTrainedTokenizerFast:
    """Byte-level pairs, the special tokens after them; ``adds_begin`` as Llama does it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    made.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    if adds_begin:
        made.post_processor = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, made.token_to_id(begin))])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token=begin, eos_token=end, pad_token=end, chat_template=template)


def lively(model: torch.nn.Module, seed: int, layers: float) -> torch.nn.Module:
    """Weights with which a picture decides what is said, and words change from step to step."""
    spread(model, seed=seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "embed_tokens" in name:
                weight.mul_(2)
            if "lm_head" in name:
                weight.mul_(3)
            if any(part in name for part in ("connector", "projector", "merger")) and weight.dim() > 1:
                weight.mul_(4)
            if "layers" in name and weight.dim() > 1:
                weight.mul_(layers)
    return model.eval()


def _save(folder: Path, model: Any, words: Any, images: Any, complete: bool, *, seed: int = 6, layers: float = 1.7) -> None:
    model.generation_config = transformers.GenerationConfig(eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id)
    lively(model, seed, layers).save_pretrained(folder)
    if complete:
        words.save_pretrained(folder)
        images.save_pretrained(folder)


def _idefics3(folder: Path, kind: str, complete: bool) -> None:
    words = tokenizer(IDEFICS3_TOKENS, "<|im_start|>", "<end_of_utterance>", DEFAULT_CHAT_TEMPLATE)
    names = getattr(transformers, f"{kind}Config"), getattr(transformers, f"{kind}ForConditionalGeneration"), getattr(transformers, f"{kind}ImageProcessorPil")
    config = names[0](
        text_config={"model_type": "llama", "vocab_size": len(words), **TEXT},
        vision_config=VISION,
        scale_factor=2,
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    images = names[2](size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE})
    _save(folder, names[1](config), words, images, complete, seed=3, layers=1.0)


def make_smolvlm_256m(folder: Path) -> None:
    """The sizes of HuggingFaceTB/SmolVLM-256M-Instruct, for the one slow test."""
    words = tokenizer(IDEFICS3_TOKENS, "<|im_start|>", "<end_of_utterance>", DEFAULT_CHAT_TEMPLATE)
    text = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64}
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 512, "patch_size": 16}
    config = transformers.SmolVLMConfig(
        text_config={"model_type": "llama", "vocab_size": 49280, "max_position_embeddings": 8192, "rope_theta": 100_000.0, **text},
        vision_config=vision,
        scale_factor=4,
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    images = transformers.SmolVLMImageProcessorPil(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512})
    _save(folder, transformers.SmolVLMForConditionalGeneration(config), words, images, True, seed=3, layers=1.0)


def make_smolvlm(folder: Path, complete: bool = True) -> None:
    _idefics3(folder, "SmolVLM", complete)


def make_idefics3(folder: Path, complete: bool = True) -> None:
    _idefics3(folder, "Idefics3", complete)


def make_llava(folder: Path, complete: bool = True, *, layer: int | list[int] = -2, strategy: str = "default", tower: str = "clip_vision_model") -> None:
    words = tokenizer(["<s>", "</s>", "<image>"], "<s>", "</s>", LLAVA_TEMPLATE, adds_begin=True)
    config = transformers.LlavaConfig(
        text_config={"model_type": "llama", "vocab_size": len(words), **TEXT},
        vision_config={"model_type": tower, **VISION},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=layer,
        vision_feature_select_strategy=strategy,
    )
    if "clip" in tower:
        images: Any = transformers.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    else:
        images = transformers.SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    _save(folder, transformers.LlavaForConditionalGeneration(config), words, images, complete)


def make_qwen3_vl(folder: Path, complete: bool = True) -> None:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    words = tokenizer(special, "<|im_start|>", "<|im_end|>", QWEN_TEMPLATE)
    ids = dict(zip(special, words.convert_tokens_to_ids(special)))
    config = transformers.Qwen3VLConfig(
        text_config={
            "vocab_size": len(words),
            "head_dim": 16,
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 1e4},
            **TEXT,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 4,
            "patch_size": PATCH,
            "out_hidden_size": TEXT["hidden_size"],
            "num_position_embeddings": 36,
            "deepstack_visual_indexes": [0, 1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    images = transformers.Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=2,
        size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    _save(folder, transformers.Qwen3VLForConditionalGeneration(config), words, images, complete)


CHECKPOINTS = {
    "SmolVLMForConditionalGeneration": make_smolvlm,
    "Idefics3ForConditionalGeneration": make_idefics3,
    "LlavaForConditionalGeneration": make_llava,
    "Qwen3VLForConditionalGeneration": make_qwen3_vl,
}
