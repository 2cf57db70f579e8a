"""Small recognisers: Whisper, Moonshine, wav2vec2 and HuBERT with a CTC head."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    HubertConfig,
    HubertForCTC,
    MoonshineConfig,
    MoonshineForConditionalGeneration,
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from checkpoints import spread

SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|nospeech|>", "<|notimestamps|>"]
WORDS = [f"word{index}" for index in range(120)]
WINDOW_S = 2
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]


def _words(special: list[str], folder: Path) -> None:
    """A tokenizer of whole words, after the special tokens."""
    words = Tokenizer(WordLevel({text: index for index, text in enumerate(special + WORDS)}, unk_token=special[0]))
    words.add_special_tokens(special)
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)


def make_whisper(folder: Path, complete: bool = True) -> None:
    """Two layers, a window of two seconds."""
    torch.manual_seed(7)
    config = WhisperConfig(
        vocab_size=len(SPECIAL) + len(WORDS), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=64, decoder_ffn_dim=64, max_source_positions=50 * WINDOW_S, max_target_positions=40, init_std=0.35,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=1,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layer_norm" in name or name.endswith(".bias"):
                weight += 0.1 * torch.randn_like(weight)
    model.save_pretrained(folder)
    settings = {"suppress_tokens": [10, 11, 12], "begin_suppress_tokens": [20, 0], "is_multilingual": True}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    if complete:
        _words(SPECIAL, folder)
        WhisperFeatureExtractor(chunk_length=WINDOW_S).save_pretrained(folder)


def make_moonshine(folder: Path, complete: bool = True) -> None:
    """Two layers, of whose heads 16 of 18 dimensions are turned."""
    config = MoonshineConfig(
        vocab_size=3 + len(WORDS), hidden_size=36, intermediate_size=72, encoder_num_hidden_layers=2, decoder_num_hidden_layers=2,
        encoder_num_attention_heads=2, decoder_num_attention_heads=2, pad_head_dim_to_multiple_of=8, max_position_embeddings=64, pad_token_id=2,
    )  # fmt: skip
    model = spread(MoonshineForConditionalGeneration(config), seed=2, scale=0.9)
    model.generation_config.max_length = 64
    model.save_pretrained(folder)
    if complete:
        _words(["<unk>", "<s>", "</s>"], folder)
        Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(folder)


SMALL = {
    "vocab_size": len(LETTERS), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUP = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
"""As wav2vec2-base has it."""
LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
"""As wav2vec2-large-lv60 and hubert-large have it."""


def _ctc(model: torch.nn.Module, folder: Path, complete: bool, masked: bool, seed: int = 1) -> None:
    spread(model, seed=seed, scale=0.7).save_pretrained(folder)
    if complete:
        folder.mkdir(exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps({letter: index for index, letter in enumerate(LETTERS)}))
        extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=masked)
        Wav2Vec2Processor(extractor, Wav2Vec2CTCTokenizer(folder / "vocab.json")).save_pretrained(folder)


def make_wav2vec2(folder: Path, complete: bool = True) -> None:
    """The first convolution is normalised over the whole sound."""
    _ctc(Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, **GROUP)), folder, complete, masked=False)


def make_wav2vec2_layer(folder: Path, complete: bool = True) -> None:
    """Every convolution is normalised frame by frame."""
    _ctc(Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, **LAYER)), folder, complete, masked=True)


def make_hubert(folder: Path, complete: bool = True) -> None:
    """With the norms of hubert-large."""
    _ctc(HubertForCTC(HubertConfig(**SMALL, **LAYER)), folder, complete, masked=True, seed=2)


CHECKPOINTS = {
    "WhisperForConditionalGeneration": make_whisper,
    "MoonshineForConditionalGeneration": make_moonshine,
    "Wav2Vec2ForCTC": make_wav2vec2,
    "HubertForCTC": make_hubert,
}
