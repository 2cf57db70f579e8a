"""Small models that answer questions about pictures: BLIP and ViLT."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from .captioner import PATCH, POSITIONS, SIDE, SMALL, SQUARE, TOWER, lively, word_pieces

LABELS = ["yes", "no", "red", "blue", "two", "three", "a cat", "a cup", "on the table", "left", "right", "nothing"]


def make_blip_vqa(folder: Path, complete: bool = True) -> None:
    """``[DEC]``, which begins answers, has the id behind the tokenizer's last, as in the published checkpoints."""
    tokenizer = word_pieces()
    size = len(tokenizer)
    special = {"bos_token_id": size, "sep_token_id": 3, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    config = transformers.BlipConfig(
        text_config={**SMALL, **special, "vocab_size": size + 2, "max_position_embeddings": POSITIONS}, vision_config=TOWER, projection_dim=16
    )
    lively(transformers.BlipForQuestionAnswering(config)).save_pretrained(folder)
    if complete:
        transformers.BlipProcessor(transformers.BlipImageProcessorPil(size=SQUARE), tokenizer).save_pretrained(folder)


def make_vilt(folder: Path, complete: bool = True) -> None:
    tokenizer = word_pieces()
    torch.manual_seed(0)
    config = transformers.ViltConfig(
        **SMALL,
        vocab_size=len(tokenizer),
        max_position_embeddings=POSITIONS,
        image_size=SIDE,
        patch_size=PATCH,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    lively(transformers.ViltForQuestionAnswering(config), scale=2).save_pretrained(folder)
    if complete:
        image = transformers.ViltImageProcessorPil(size={"shortest_edge": SIDE}, size_divisor=PATCH)
        transformers.ViltProcessor(image, tokenizer).save_pretrained(folder)


CHECKPOINTS = {"BlipForQuestionAnswering": make_blip_vqa, "ViltForQuestionAnswering": make_vilt}
