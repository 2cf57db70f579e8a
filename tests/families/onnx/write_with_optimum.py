"""Run by an environment with optimum-onnx and the transformers that it asks for, never by the tests' own: ``python write_with_optimum.py OUT MEDIA``.

Makes small random checkpoints, lets optimum export them, and writes the tokens that that transformers' ``generate`` says to MEDIA/*.npy and MEDIA/*.jpg.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from optimum.exporters.onnx import main_export
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXTS = ["a cat sits on the mat", "the quick brown fox", "hello world how are you"]
TEMPLATE = "{% for m in messages %}<u>{{ m['content'] }}<e>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
GREEDY = {"max_new_tokens": 20, "do_sample": False, "num_beams": 1}


def spread(model: torch.nn.Module) -> torch.nn.Module:
    """Weights wide enough that other inputs give other words."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() > 1:
                weight.copy_(noise * (1.0 if "embed" in name or ".wte" in name or ".wpe" in name else 1.5 * weight[0].numel() ** -0.5))
            elif "norm" in name.lower() or ".ln_" in name:
                weight.copy_((1 if name.endswith("weight") else 0) + 0.2 * noise)
            else:
                weight.copy_(0.1 * noise)
            if weight.dim() > 1 and ("encoder_attn" in name or "conv" in name):  # what is heard must outweigh what was said
                weight.mul_(10 if "attn" in name else 3)
    return model.eval()


def bytes_tokenizer(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXTS * 4, trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet))
    return tokenizer


def whisper(folder: Path, sounds: dict[str, np.ndarray]) -> dict[str, list[int]]:
    names = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|translate|>", "<|nospeech|>", "<|notimestamps|>"]
    words = bytes_tokenizer(names)
    end = names[0]
    tokenizer = hf.WhisperTokenizerFast(tokenizer_object=words, unk_token=end, bos_token=end, eos_token=end, pad_token=end)
    ids = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 1}
    sizes = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = hf.WhisperConfig(
        vocab_size=words.get_vocab_size(), encoder_ffn_dim=64, decoder_ffn_dim=64, num_mel_bins=80, max_target_positions=64, **sizes, **ids
    )
    config.begin_suppress_tokens = config.suppress_tokens = None
    model = spread(hf.WhisperForConditionalGeneration(config))
    known = {"lang_to_id": {"<|en|>": 2, "<|de|>": 3}, "task_to_id": {"transcribe": 4, "translate": 5}, "is_multilingual": True}
    begin = {"suppress_tokens": [8], "begin_suppress_tokens": [0, 9], "no_timestamps_token_id": 7, "max_length": 60}
    model.generation_config = hf.GenerationConfig(**ids, **known, **begin)
    processor = hf.WhisperProcessor(hf.WhisperFeatureExtractor(feature_size=80), tokenizer)
    keep(model, folder, processor, "automatic-speech-recognition-with-past")
    said = {}
    for name, samples in sounds.items():
        features = processor(samples, sampling_rate=16_000, return_tensors="pt").input_features
        # Not Whisper's own generate, which goes on listening where random weights hear no end.
        prompt = torch.tensor([[1, 2, 4, 7]])
        said[name] = words_of(hf.GenerationMixin.generate(model, features, decoder_input_ids=prompt, **GREEDY), 4)
    return said


def captioner(folder: Path, pictures: dict[str, Image.Image]) -> dict[str, list[int]]:
    words = bytes_tokenizer(["<|endoftext|>"])
    end = "<|endoftext|>"
    tokenizer = hf.GPT2TokenizerFast(tokenizer_object=words, bos_token=end, eos_token=end, unk_token=end, pad_token=end)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    eye = hf.ViTConfig(image_size=32, patch_size=8, **sizes)
    mind = hf.GPT2Config(vocab_size=words.get_vocab_size(), n_positions=64, n_embd=32, n_layer=2, n_head=2, add_cross_attention=True, is_decoder=True)
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(eye, mind)
    config.decoder_start_token_id = config.pad_token_id = config.eos_token_id = 0
    model = spread(hf.VisionEncoderDecoderModel(config))
    processor = hf.ViTImageProcessor(size={"height": 32, "width": 32})
    tokenizer.save_pretrained(folder)
    keep(model, folder, processor, "image-to-text-with-past")
    said = {}
    for name, picture in pictures.items():
        said[name] = words_of(model.generate(processor(picture, return_tensors="pt").pixel_values, **GREEDY), 1)
    return said


def chat(folder: Path) -> dict[str, list[int]]:
    words = bytes_tokenizer(["<s>", "<u>", "<a>", "<e>"])
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="<e>", pad_token="<e>")
    tokenizer.chat_template = TEMPLATE
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = hf.LlamaConfig(vocab_size=words.get_vocab_size(), max_position_embeddings=128, bos_token_id=0, eos_token_id=3, pad_token_id=3, **sizes)
    model = spread(hf.LlamaForCausalLM(config))
    keep(model, folder, tokenizer, "text-generation-with-past")
    said = {}
    for text in TEXTS:
        ids = tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt")
        said[text] = words_of(model.generate(ids, attention_mask=torch.ones_like(ids), **GREEDY), ids.shape[1])
    return said


def words_of(tokens: torch.Tensor, prompt: int) -> list[int]:
    found: list[int] = tokens[0, prompt:].tolist()
    return found


def keep(model: torch.nn.Module, folder: Path, processor: object, task: str) -> None:
    """Save a checkpoint, and export it with optimum into the folder of the same name with ``-onnx``."""
    model.save_pretrained(folder)  # type: ignore[operator]
    processor.save_pretrained(folder)  # type: ignore[attr-defined]
    main_export(str(folder), folder.with_name(f"{folder.name}-onnx"), task=task, device="cpu")


def main(out: Path, media: Path) -> None:
    torch.set_num_threads(1)
    pictures = {path.stem: Image.open(path).convert("RGB") for path in sorted(media.glob("*.jpg"))}
    sounds = {path.stem: np.load(path, allow_pickle=False) for path in sorted(media.glob("*.npy"))}
    said = {"whisper": whisper(out / "whisper", sounds), "captioner": captioner(out / "captioner", pictures), "chat": chat(out / "chat")}
    (out / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
