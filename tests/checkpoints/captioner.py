"""Small captioners: BLIP, GIT, and encoder-decoders with a GPT-2, a TrOCR or a BERT decoder."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from . import spread

TEXT = "a photo of the cat cup table on in with red blue green two three dog house is there what colour how many yes no left right it"
WORDS = TEXT.split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIDE, PATCH, POSITIONS = 32, 8, 40
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TOWER = {**SMALL, "image_size": SIDE, "patch_size": PATCH}
SQUARE = {"height": SIDE, "width": SIDE}


def word_pieces() -> transformers.PreTrainedTokenizerFast:
    """As BERT has them: special tokens 0 to 4, words, letters."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = list(dict.fromkeys([*special, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *"?.,'"]))
    tokenizer = Tokenizer(models.WordPiece({word: index for index, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )


def byte_pairs(special: list[str]) -> transformers.PreTrainedTokenizerFast:
    """As GPT-2 and RoBERTa have them: ``special`` first, then bytes, then a few words; the last special token ends texts."""
    alphabet = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges, vocabulary = [], {piece: index for index, piece in enumerate(alphabet)}
    for word in WORDS:
        pieces = ["Ġ", *word]
        while len(pieces) > 1:
            pair = (pieces[0], pieces[1])
            if pair not in merges:
                merges.append(pair)
                vocabulary.setdefault("".join(pair), len(vocabulary))
            pieces = ["".join(pair), *pieces[2:]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[-1], pad_token=special[0])


def lively(model: torch.nn.Module, scale: float = 0.3) -> torch.nn.Module:
    """Weights spread; positions of texts that matter, or such a decoder says one word over and over; attention that is sharp, or no cache does."""
    spread(model, seed=1, scale=scale)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() < 2:
                continue
            if ("position" in name or "wpe" in name) and len(weight) >= POSITIONS:
                weight.mul_(4)
            elif ".attn.c_attn" in name:
                weight.mul_(16)
            elif any(part in name for part in ("query", "key", "q_proj", "k_proj")):
                weight.mul_(3)
    return model


def make_blip(folder: Path, complete: bool = True) -> None:
    """``[DEC]``, which begins captions, has the id behind the tokenizer's last, as in the published checkpoints."""
    tokenizer = word_pieces()
    size = len(tokenizer)
    torch.manual_seed(0)
    config = transformers.BlipConfig(
        text_config={
            **SMALL,
            "vocab_size": size + 2,
            "max_position_embeddings": POSITIONS,
            "bos_token_id": size,
            "sep_token_id": 3,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        vision_config=TOWER,
        projection_dim=16,
    )
    lively(transformers.BlipForConditionalGeneration(config)).save_pretrained(folder)
    if complete:
        transformers.BlipProcessor(transformers.BlipImageProcessorPil(size=SQUARE), tokenizer).save_pretrained(folder)


def make_git(folder: Path, complete: bool = True) -> None:
    tokenizer = word_pieces()
    torch.manual_seed(0)
    config = transformers.GitConfig(
        **SMALL, vision_config=TOWER, vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, bos_token_id=2, eos_token_id=3, pad_token_id=0
    )
    lively(transformers.GitForCausalLM(config), scale=0.5).save_pretrained(folder)
    if complete:
        image = transformers.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SQUARE)
        transformers.GitProcessor(image, tokenizer).save_pretrained(folder)


def make_vit_gpt2(folder: Path, complete: bool = True) -> None:
    """One token begins, ends and fills texts, as in GPT-2. The encoder is narrower than the decoder, so there is a projection between them."""
    tokenizer = byte_pairs(["<|endoftext|>"])
    decoder = transformers.GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=POSITIONS,
        add_cross_attention=True,
        is_decoder=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    _encoder_decoder(folder, transformers.ViTConfig(**{**TOWER, "hidden_size": 24}), decoder, start=0, stop=0, pad=0)
    if complete:
        transformers.ViTImageProcessorPil(size=SQUARE).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def make_trocr(folder: Path, complete: bool = True, *, learned: bool = True, encoder: str = "DeiT") -> None:
    """``</s>`` begins and ends texts, as in the published checkpoints; ``learned`` as the base size has it, otherwise as the large one."""
    tokenizer = byte_pairs(["<s>", "<pad>", "</s>"])
    decoder = transformers.TrOCRConfig(
        vocab_size=len(tokenizer), d_model=32, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=48, max_position_embeddings=POSITIONS,
        is_decoder=True, add_cross_attention=True, cross_attention_hidden_size=24, bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2,
        use_learned_position_embeddings=learned, layernorm_embedding=learned, scale_embedding=not learned, activation_function="gelu" if learned else "relu",
    )  # fmt: skip
    _encoder_decoder(folder, getattr(transformers, f"{encoder}Config")(**{**TOWER, "hidden_size": 24}), decoder, start=2, stop=2, pad=1)
    if complete:
        image = transformers.ViTImageProcessorPil(size=SQUARE) if encoder == "ViT" else transformers.DeiTImageProcessorPil(size=SQUARE, do_center_crop=False)
        transformers.TrOCRProcessor(image, tokenizer).save_pretrained(folder)


def make_vit_bert(folder: Path, complete: bool = True) -> None:
    tokenizer = word_pieces()
    decoder = transformers.BertConfig(**SMALL, vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, is_decoder=True, add_cross_attention=True)
    _encoder_decoder(folder, transformers.ViTConfig(**TOWER), decoder, start=2, stop=3, pad=0)
    if complete:
        transformers.ViTImageProcessorPil(size=SQUARE).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _encoder_decoder(folder: Path, encoder: object, decoder: object, *, start: int, stop: int, pad: int) -> None:
    torch.manual_seed(0)
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = start, stop, pad
    model = transformers.VisionEncoderDecoderModel(config)
    model.generation_config = transformers.GenerationConfig(decoder_start_token_id=start, eos_token_id=stop, pad_token_id=pad)
    lively(model, scale=0.6 if getattr(decoder, "use_learned_position_embeddings", True) is False else 0.3).save_pretrained(folder)


CHECKPOINTS = {
    "BlipForConditionalGeneration": make_blip,
    "GitForCausalLM": make_git,
    "VisionEncoderDecoderModel": make_vit_gpt2,
    "VisionEncoderDecoderModel-TrOCR": make_trocr,
}
