"""Small image-text and audio-text models."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from checkpoints import spread
from checkpoints.fusion import TEXT
from mmedge.nets.encoders import byte_tokenizer
from mmedge.nets.multimodal import DualEncoder
from mmedge.nets.multimodal_checkpoint import save_checkpoint
from mmedge.nets.multimodal_config import DualEncoderConfig, EfficientNetConfig, ImageEncoder
from mmedge.processors.pixels import ImageSettings

CAPTIONS = [
    "a photo of a cat",
    "a cup of coffee on a table",
    "Is there a bicycle in front of the house?",
    "seven dogs bark",
    "the sound of rain",
    "A Blue House!",
]
CHINESE = ["一只猫", "一杯咖啡放在桌子上", "ＡＢＣ，全角！", "这是 a cat 和 2只狗", "皮卡丘", "房子前面有自行车吗？"]
LAYERS = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
PICTURE = {**LAYERS, "image_size": 32, "patch_size": 8}
TOKENS = 24


def make_clip(folder: Path, complete: bool = True, side: int = 32) -> transformers.CLIPModel:
    words = _byte_pairs(["<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>")
    text = {**LAYERS, "vocab_size": 400, "max_position_embeddings": TOKENS, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config={**PICTURE, "image_size": side}, projection_dim=24))
    if complete:
        _fast(words, folder, bos_token="<|startoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>")
        transformers.CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}).save_pretrained(folder)
    return _saved(model, folder)


def make_chinese_clip(folder: Path, complete: bool = True) -> transformers.ChineseCLIPModel:
    """BERT's own tokenizer, over single characters and pieces of Latin words."""
    folder.mkdir(parents=True, exist_ok=True)
    signs = sorted({sign for text in [*CHINESE, *CAPTIONS] for sign in text.lower() if not sign.isspace()} | set("abcdefghijklmnopqrstuvwxyz0123456789"))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs, *(f"##{sign}" for sign in signs if sign.isascii()), "cat", "photo"]
    text = {**LAYERS, "vocab_size": len(vocabulary), "max_position_embeddings": TOKENS, "pad_token_id": 0}
    model = transformers.ChineseCLIPModel(transformers.ChineseCLIPConfig(text_config=text, vision_config=PICTURE, projection_dim=24))
    if complete:
        (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        transformers.BertTokenizer.from_pretrained(folder, model_max_length=TOKENS).save_pretrained(folder)
        transformers.ChineseCLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return _saved(model, folder)


def make_siglip(folder: Path, complete: bool = True) -> transformers.SiglipModel:
    words = Tokenizer(models.Unigram())
    words.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()])
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False)
    words.train_from_iterator([*CAPTIONS, *CHINESE] * 3, trainer)
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    text = {**LAYERS, "vocab_size": 400, "max_position_embeddings": TOKENS, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 1}
    model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=PICTURE))
    if complete:
        _fast(words, folder, eos_token="</s>", pad_token="</s>", unk_token="<unk>")
        transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return _saved(model, folder)


def make_siglip2(folder: Path, complete: bool = True) -> transformers.Siglip2Model:
    """Pictures of any shape. As on the hub, only transformers' own tokenizer class makes texts lower case: tokenizer.json does not say so."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    words = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    words.normalizer, words.pre_tokenizer = normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous")
    signs = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    words.train_from_iterator([text.lower() for text in CAPTIONS] * 3, trainers.BpeTrainer(vocab_size=380, special_tokens=signs, show_progress=False))
    words.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    text = {**LAYERS, "vocab_size": 400, "max_position_embeddings": TOKENS, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    vision = {**LAYERS, "patch_size": 8, "num_patches": 16}
    model = transformers.Siglip2Model(transformers.Siglip2Config(text_config=text, vision_config=vision))
    if complete:
        _fast(words, folder, eos_token="<eos>", bos_token="<bos>", pad_token="<pad>", unk_token="<unk>", mask_token="<mask>", model_input_names=["input_ids"])
        told = folder / "tokenizer_config.json"
        told.write_text(told.read_text().replace("TokenizersBackend", "GemmaTokenizer"))
        transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=20).save_pretrained(folder)
    return _saved(model, folder)


def make_clap(folder: Path, complete: bool = True, fusion: bool = False) -> transformers.ClapModel:
    words = _byte_pairs(["<s>", "</s>", "<pad>", "<unk>"])
    text = {**LAYERS, "vocab_size": 400, "max_position_embeddings": TOKENS + 3, "pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1}
    sizes = {"spec_size": 128, "num_mel_bins": 64, "depths": [2, 2], "num_attention_heads": [2, 4], "patch_embeds_hidden_size": 16, "hidden_size": 32}
    model = transformers.ClapModel(transformers.ClapConfig(text_config=text, audio_config={**sizes, "enable_fusion": fusion}, projection_dim=24))
    if complete:
        _fast(words, folder, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
        transformers.ClapFeatureExtractor(max_length_s=2, truncation="fusion" if fusion else "rand_trunc").save_pretrained(folder)
    model.audio_model.audio_encoder.batch_norm.running_mean.fill_(-30.0)  # decibels
    model.audio_model.audio_encoder.batch_norm.running_var.fill_(400.0)
    return _saved(model, folder)


def make_fused_clap(folder: Path, complete: bool = True) -> transformers.ClapModel:
    return make_clap(folder, complete, fusion=True)


def make_trained(folder: Path, complete: bool = True, conse: float = 0.5, similarity: str = "softmax") -> DualEncoder:
    """What mmedge trains: a small EfficientNet and a small BERT over bytes."""
    stages = ((1, 3, 1, 1, 8), (1, 3, 2, 2, 12))
    image = ImageEncoder(network=EfficientNetConfig(side=32, stem=8, stages=stages, features=24, classes=12), prepared=ImageSettings(resize=(32, 32)))
    config = DualEncoderConfig(image=image, text=TEXT, width=20, conse=conse, similarity=similarity)
    model = spread(DualEncoder(config), scale=0.5)
    with torch.no_grad():
        norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.weight.copy_(1 + norm.weight)
            norm.momentum = 1.0
        model.train().towers["image"].encoder(pixel_values=torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(2)))
        model.eval().logit_scale.fill_(2.0)
        if conse:
            model.set_classes(torch.randn(12, 16, generator=torch.Generator().manual_seed(1)))
    save_checkpoint(folder, model, byte_tokenizer() if complete else None)
    return model


CHECKPOINTS = {
    "CLIPModel": make_clip,
    "ChineseCLIPModel": make_chinese_clip,
    "SiglipModel": make_siglip,
    "Siglip2Model": make_siglip2,
    "ClapModel": make_clap,
    "MmedgeDualEncoder": make_trained,
}


def _byte_pairs(special: list[str], **options: str) -> Tokenizer:
    """As CLIP's and RoBERTa's."""
    words = Tokenizer(models.BPE(unk_token=special[-1], **options))
    words.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(" +", " "), normalizers.Lowercase()])
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=390, special_tokens=special, initial_alphabet=alphabet, show_progress=False, **options)
    words.train_from_iterator(CAPTIONS * 3, trainer)
    template = [(special[0], 0), (special[1], 1)]
    words.post_processor = processors.TemplateProcessing(single=f"{special[0]} $A {special[1]}", special_tokens=template)
    return words


def _fast(words: Tokenizer, folder: Path, **options: object) -> None:
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=TOKENS, padding_side="right", **options).save_pretrained(folder)


def _saved(model: transformers.PreTrainedModel, folder: Path) -> transformers.PreTrainedModel:
    spread(model, scale=0.5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith("logit_scale"):
                weight.fill_(2.0)
            if name == "logit_bias":
                weight.fill_(-1.0)
    model.save_pretrained(folder)
    return model
