"""Architectures that no family takes: texts, pictures, boxes, and one that writes."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from checkpoints import spread

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def _save(model: torch.nn.Module, folder: Path) -> None:
    spread(model).save_pretrained(folder)  # type: ignore[operator]


def make_bert(folder: Path, complete: bool = True) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "cup", "of", "coffee", "on", "table", "is", "there", "bicycle", "in", "front", "the", "house", "?"]
    _save(transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL, vocab_size=len(words), max_position_embeddings=40, num_labels=3)), folder)
    if complete:
        tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
        transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)


def make_vit(folder: Path, complete: bool = True) -> None:
    _save(transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL, image_size=32, patch_size=8, num_labels=4)), folder)
    if complete:
        transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def make_segformer(folder: Path, complete: bool = True) -> None:
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16], depths=[1, 1], num_attention_heads=[1, 2], sr_ratios=[2, 1], num_encoder_blocks=2, decoder_hidden_size=16
    )
    config.patch_sizes, config.strides, config.mlp_ratios, config.image_size = [7, 3], [4, 2], [2, 2], 64
    _save(transformers.SegformerForSemanticSegmentation(config), folder)
    if complete:
        transformers.SegformerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)


def make_detr(folder: Path, complete: bool = True) -> None:
    backbone = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"])
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 5}
    config = transformers.DetrConfig(backbone_config=backbone, encoder_ffn_dim=16, decoder_ffn_dim=16, num_labels=3, **sizes)
    _save(transformers.DetrForObjectDetection(config), folder)


def make_t5(folder: Path, complete: bool = True) -> None:
    config = transformers.T5Config(vocab_size=60, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4, decoder_start_token_id=0)
    _save(transformers.T5ForConditionalGeneration(config), folder)


CHECKPOINTS = {
    "BertForSequenceClassification": make_bert,
    "ViTForImageClassification": make_vit,
    "SegformerForSemanticSegmentation": make_segformer,
    "DetrForObjectDetection": make_detr,
    "T5ForConditionalGeneration": make_t5,
}
