"""An encoder per modality, all with the same output: one vector of the whole, and the states that it was made of.

All but EfficientNet are transformers' own modules, at any size: ``vit``, ``byte_bert`` and ``listener`` are configs of small ones to be trained from scratch,
``pretrained`` takes a checkpoint's folder.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from mmedge.errors import MmedgeError, first_line
from mmedge.family import Allow
from mmedge.nets.checkpoint import load, load_config
from mmedge.nets.efficientnet_lite import EfficientNetLite
from mmedge.nets.fusing import Encoded
from mmedge.nets.multimodal_config import EfficientNetConfig, Modality, TransformersConfig
from mmedge.processors.log_mel import LogMelSettings

INPUTS: Mapping[Modality, tuple[str, ...]] = {"image": ("pixel_values",), "text": ("input_ids", "attention_mask"), "audio": ("input_features",)}
"""What each modality's encoder takes."""

PAD, CLS = "[PAD]", "[CLS]"


class Encoder(Protocol):
    """A torch module."""

    config: EfficientNetConfig | TransformersConfig
    width: int
    """D of what it gives."""

    def __call__(self, **feeds: Tensor) -> Encoded:
        """By the names of ``INPUTS``."""
        ...


class EfficientNetEncoder(nn.Module):
    """pixel_values float32 [B, 3, side, side] -> the last feature map: its mean, and its places row by row as tokens."""

    def __init__(self, config: EfficientNetConfig, network: EfficientNetLite | None = None) -> None:
        super().__init__()
        self.config, self.width = config, config.features
        self.network = network or EfficientNetLite(config)

    def forward(self, pixel_values: Tensor) -> Encoded:
        grid = self.network.grid(pixel_values)
        return Encoded(grid.mean((2, 3)), grid.flatten(2).transpose(1, 2))


class TransformersEncoder(nn.Module):
    """An encoder of transformers -> its last hidden states, pooled as the config says."""

    def __init__(self, config: TransformersConfig, network: Any = None) -> None:
        super().__init__()
        self.config = config
        self.network: Any = _made(config.config) if network is None else network
        self.width = int(getattr(self.network.config, "d_model", None) or self.network.config.hidden_size)
        # Without its kind a token's is looked up through GatherElements, which fewer runtimes get right than have it.
        self.has_kinds = hasattr(getattr(self.network, "embeddings", None), "token_type_embeddings")

    def forward(self, **feeds: Tensor) -> Encoded:
        kinds = {"token_type_ids": feeds["input_ids"] * 0} if self.has_kinds else {}
        states: Tensor = self.network(**feeds, **kinds).last_hidden_state
        mask = feeds.get("attention_mask")
        if self.config.pooling == "first":
            pooled = states[:, 0]
        elif mask is None:
            pooled = states.mean(1)
        else:
            weights = mask.unsqueeze(-1).to(states.dtype)
            pooled = (states * weights).sum(1) / weights.sum(1).clamp(min=1)  # of a batch some texts may be missing
        return Encoded(pooled, states, mask)


def encoder(config: EfficientNetConfig | TransformersConfig) -> Any:
    """An ``Encoder`` with new weights. Raises MmedgeError: transformers cannot make it."""
    return EfficientNetEncoder(config) if isinstance(config, EfficientNetConfig) else TransformersEncoder(config)


def pretrained(folder: Path, allow: Allow = Allow(), pooling: Literal["mean", "first"] = "mean") -> Any:
    """An ``Encoder``: that of a checkpoint of transformers with its weights; what is above it (poolers, heads, decoders) is left behind.

    Raises:
        MmedgeError: the folder is damaged or incomplete (``mmedge.nets.checkpoint.load``), or its model is no encoder.
    """
    config = load_config(folder, allow)
    named = (config.architectures or [None])[0]
    if named is None:
        raise MmedgeError(f"{folder / 'config.json'} names no architecture", "get the config.json that was saved with the model")
    network: Any = load(str(named), folder, allow).base_model
    network = network.encoder if isinstance(getattr(network, "encoder", None), WhisperEncoder) else network
    return wrapped(network, pooling)


def wrapped(network: Any, pooling: Literal["mean", "first"] = "mean") -> Any:
    """An ``Encoder`` of a network that is there: an ``EfficientNetLite``, or an encoder of transformers, which loses its pooler."""
    if isinstance(network, EfficientNetLite):
        return EfficientNetEncoder(network.config, network)
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    told = {name: value for name, value in network.config.to_diff_dict().items() if name not in ("architectures", "transformers_version", "dtype")}
    return TransformersEncoder(TransformersConfig(config={**told, "model_type": network.config.model_type}, pooling=pooling), network)


def vit(side: int = 64, patch: int = 8, width: int = 128, layers: int = 4, heads: int = 4) -> TransformersConfig:
    """A small vision transformer (Dosovitskiy et al. 2021) for pictures of ``side`` x ``side`` pixels."""
    return TransformersConfig(config={"model_type": "vit", "image_size": side, "patch_size": patch, **_sizes(width, layers, heads)}, pooling="first")


def byte_bert(length: int = 128, width: int = 128, layers: int = 2, heads: int = 4) -> TransformersConfig:
    """A small BERT over the bytes of a text in UTF-8, any language: for ``byte_tokenizer``, texts of at most ``length`` - 1 bytes."""
    sizes = {"vocab_size": 258, "max_position_embeddings": length, "pad_token_id": 0}
    return TransformersConfig(config={"model_type": "bert", **sizes, **_sizes(width, layers, heads)})


def listener(settings: LogMelSettings, width: int = 128, layers: int = 2, heads: int = 4) -> TransformersConfig:
    """A small encoder of Whisper's form (Radford et al. 2022): two convolutions over log-mel features, then a transformer of 50 states a second."""
    sizes = {"d_model": width, "encoder_layers": layers, "encoder_attention_heads": heads, "encoder_ffn_dim": 4 * width}
    return TransformersConfig(config={"model_type": "whisper", "num_mel_bins": settings.mels, "max_source_positions": settings.frames // 2, **sizes})


def byte_tokenizer() -> bytes:
    """A tokenizer.json whose tokens are the 256 bytes: [PAD] is 0, [CLS], which begins every text, is 1."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({token: index for index, token in enumerate([PAD, CLS, *alphabet])}, []))
    made.add_special_tokens([PAD, CLS])
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(single=f"{CLS} $A", special_tokens=[(CLS, 1)])
    return bytes(made.to_str().encode())


def _sizes(width: int, layers: int, heads: int) -> dict[str, int]:
    return {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": 4 * width}


def _made(content: Mapping[str, Any]) -> Any:
    kind = str(content.get("model_type"))
    if kind not in transformers.CONFIG_MAPPING:
        raise MmedgeError(f"an encoder's model_type is {kind!r}, which transformers {transformers.__version__} does not know", "use bert, vit or whisper")
    try:
        config = transformers.CONFIG_MAPPING[kind](**{name: value for name, value in content.items() if name != "model_type"})
        config._attn_implementation = "eager"
        made: Any = WhisperEncoder if kind == "whisper" else transformers.AutoModel._model_mapping[type(config)]
        return made(config, **({"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(made).parameters else {}))
    except Exception as error:  # StrictDataclassError, ValueError, KeyError, TypeError and more, by what a value broke
        raise MmedgeError(f"transformers {transformers.__version__} cannot make that {kind} encoder: {first_line(error)}", "correct its config") from error
