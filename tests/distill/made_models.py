"""Small models of transformers with random weights, and their inputs; no two sizes of one are alike, so that no axis is taken for another."""

from __future__ import annotations

import torch

WORDS, FRAMES = 50, 30


def bert(**changes):
    from transformers import BertConfig, BertModel

    sizes = {"num_hidden_layers": 6, "hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 40, "vocab_size": WORDS, "max_position_embeddings": 17}
    return _made(BertModel, BertConfig(**sizes | changes)), {"input_ids": torch.arange(14).reshape(2, 7) * 3}


def distilbert():
    from transformers import DistilBertConfig, DistilBertModel

    config = DistilBertConfig(n_layers=6, dim=24, n_heads=4, hidden_dim=40, vocab_size=WORDS, max_position_embeddings=17)
    return _made(DistilBertModel, config), {"input_ids": torch.arange(14).reshape(2, 7) * 3}


def vit():
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(num_hidden_layers=6, hidden_size=24, num_attention_heads=4, intermediate_size=40, image_size=20, patch_size=10, num_channels=1)
    return _made(ViTModel, config), {"pixel_values": _drawn(2, 1, 20, 20)}


def clip_vision():
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(num_hidden_layers=6, hidden_size=24, num_attention_heads=4, intermediate_size=40, image_size=20, patch_size=10)
    return _made(CLIPVisionModel, config), {"pixel_values": _drawn(2, 3, 20, 20)}


def qwen3():
    """Heads have a size of their own, and two of queries share one of keys."""
    from transformers import Qwen3Config, Qwen3Model

    sizes = {"num_hidden_layers": 6, "hidden_size": 24, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 6, "intermediate_size": 40}
    return _made(Qwen3Model, Qwen3Config(vocab_size=WORDS, **sizes)), {"input_ids": torch.arange(14).reshape(2, 7) * 3}


def whisper_encoder():
    model, inputs = whisper()
    return model.model.encoder, {"input_features": inputs["input_features"]}


def whisper():
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    sizes = {"d_model": 24, "num_mel_bins": 5, "vocab_size": WORDS, "max_source_positions": FRAMES // 2, "max_target_positions": 9}
    sizes |= {f"{side}_{what}": size for side in ("encoder", "decoder") for what, size in (("layers", 6), ("attention_heads", 4), ("ffn_dim", 40))}
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    model = _made(WhisperForConditionalGeneration, WhisperConfig(**sizes, **special, suppress_tokens=[], begin_suppress_tokens=[]))
    return model, {"input_features": _drawn(2, 5, FRAMES), "decoder_input_ids": torch.arange(14).reshape(2, 7) * 3}


def _drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def _made(kind, config):
    """Weights as large as trained ones, and biases and scales that are not all alike: otherwise slicing them wrongly would go unseen."""
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return model
