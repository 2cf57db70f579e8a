"""Chat models: Llama with grouped queries, and those that are made like it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from checkpoints import spread
from checkpoints.small_tokenizers import byte_level

TEMPLATE = """{%- for message in messages %}{{- '<s>' + message.role + ': ' + message.content + '</s>' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<s>assistant: ' }}{%- endif %}"""

SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
OWN: dict[str, dict[str, Any]] = {
    "LlamaForCausalLM": {"tie_word_embeddings": True},
    "MistralForCausalLM": {"sliding_window": None, "head_dim": 16},
    "Qwen2ForCausalLM": {},
    "Qwen3ForCausalLM": {"head_dim": 16, "tie_word_embeddings": True},
    "SmolLM3ForCausalLM": {"num_hidden_layers": 3, "no_rope_layer_interval": 2},
    "GemmaForCausalLM": {"head_dim": 16},
}


def make_causal(architecture: str, folder: Path, complete: bool = True, **changed: Any) -> transformers.PreTrainedModel:
    """A checkpoint with a tokenizer and a chat template where ``complete``; ``changed`` replaces values of its config."""
    kind = getattr(transformers, architecture)
    torch.manual_seed(0)
    config = kind.config_class(**{**SIZES, **OWN[architecture], **changed})
    model = spread(kind(config), scale=1.0)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(0.1)  # what a token is must not drown what the layers make of it
    model.save_pretrained(folder)
    if complete:
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=byte_level(), bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE)
        tokenizer.save_pretrained(folder)
    return model


CHECKPOINTS = {architecture: partial(make_causal, architecture) for architecture in OWN}
