"""FLOPs of whole networks, computed by hand from what their architecture says of itself, and by torch's own counter."""

from __future__ import annotations

import numpy as np
import pytest

from mmedge.profile.flops import work
from mmedge.runner import Graph
from mmedge.tensors import TensorSpec

torch = pytest.importorskip("torch")


def traced(module, example, path, name):
    """The module's ONNX file, by torch's exporter; and what torch counts."""
    from torch.utils.flop_counter import FlopCounterMode

    module = module.eval()
    with torch.no_grad():
        for parameter in module.parameters():  # equal ones would be stored once
            parameter.normal_()
        torch.onnx.export(module, (example,), str(path), input_names=[name], dynamo=True, external_data=True, verbose=False)
        with FlopCounterMode(display=False) as counter:
            module(example)
    graph = Graph(path, "", (TensorSpec(name, "float32", tuple(example.shape)),), ())
    return work(graph, {name: example.numpy()}), counter.get_total_flops()


def vit_by_hand(config):
    """Patches, then layers of four square products, two of the feed-forward part and two of attention, then the projection of one vector. Dosovitskiy et
    al. 2021; Radford et al. 2021."""
    vision, width = config.vision_config, config.vision_config.hidden_size
    patches = (vision.image_size // vision.patch_size) ** 2
    tokens = patches + 1
    layer = 4 * tokens * width**2 + 2 * tokens * width * vision.intermediate_size + 2 * tokens**2 * width
    return 2 * (patches * width * 3 * vision.patch_size**2 + vision.num_hidden_layers * layer + width * config.projection_dim)


def clip(**vision):
    from transformers import CLIPConfig, CLIPModel

    from mmedge.nets.embedders import ImageTower

    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 50}
    config = CLIPConfig(vision_config=vision, text_config=text, projection_dim=512, attn_implementation="eager")
    return config, ImageTower(CLIPModel(config))


@pytest.mark.full
def test_vit_of_two_layers(tmp_path):
    config, tower = clip(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8)
    found, torchs = traced(tower, torch.rand(1, 3, 32, 32), tmp_path / "vit.onnx", "pixel_values")
    assert found.flops == vit_by_hand(config) == torchs
    assert found.unknown == ()


@pytest.mark.full
def test_vit_b_32(tmp_path):
    config, tower = clip(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=224, patch_size=32)
    found, torchs = traced(tower, torch.rand(1, 3, 224, 224), tmp_path / "vit.onnx", "pixel_values")
    assert found.flops == vit_by_hand(config) == torchs == 8_817_623_040
    parameters = sum(parameter.numel() for parameter in [*tower.tower.parameters(), *tower.projection.parameters()])
    assert found.bytes == pytest.approx(4 * (parameters + 3 * 224 * 224 + 512), rel=1e-4)


def whisper_by_hand(config, frames):
    """Two convolutions of width 3, the second of stride 2, then layers as in a ViT, then keys and values for each layer of the decoder. Radford et al. 2022."""
    width, steps = config.d_model, frames // 2
    convolutions = frames * width * config.num_mel_bins * 3 + steps * width * width * 3
    layer = 4 * steps * width**2 + 2 * steps * width * config.encoder_ffn_dim + 2 * steps**2 * width
    return 2 * (convolutions + config.encoder_layers * layer + config.decoder_layers * 2 * steps * width**2)


WHISPER_TINY = {"d_model": 384, "encoder_layers": 4, "decoder_layers": 4, "encoder_attention_heads": 6, "decoder_attention_heads": 6} | {
    "encoder_ffn_dim": 1536,
    "decoder_ffn_dim": 1536,
    "num_mel_bins": 80,
}


@pytest.mark.full
@pytest.mark.parametrize(("seconds", "flops"), [(10, 10_420_224_000), (30, 40_476_672_000)])
def test_whisper_tiny_encoder(tmp_path, seconds, flops):
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    from mmedge.nets.whisper import Encoder

    config = WhisperConfig(**WHISPER_TINY)
    encoder = Encoder(WhisperForConditionalGeneration(config))
    found, torchs = traced(encoder, torch.rand(1, 80, 100 * seconds), tmp_path / "whisper.onnx", "input_features")
    assert found.flops == whisper_by_hand(config, 100 * seconds) == torchs == flops


@pytest.mark.full
def test_whisper_tiny_of_the_shipped_assistant(assistant_bundle):
    """The real graph: one window, 10 s."""
    from transformers import WhisperConfig

    from mmedge.bundle import Bundle

    graph = Bundle.open(assistant_bundle).graph("ears", "encoder")
    assert work(graph, {"input_features": np.zeros((1, 80, 1000), np.float32)}).flops == whisper_by_hand(WhisperConfig(**WHISPER_TINY), 1000)


def efficientnet_by_hand():
    """Tan and Le 2019, table 1: B0's stages; "lite" leaves out squeeze-and-excitation and keeps stem and head at their widths."""
    #         layers kernel stride expansion channels
    stages = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]
    side, channels, total = 112, 32, 112**2 * 32 * 3 * 9
    for layers, kernel, stride, expansion, out in stages:
        for layer in range(layers):
            wide = channels * expansion
            total += side**2 * channels * wide if expansion > 1 else 0
            side //= stride if layer == 0 else 1
            total += side**2 * wide * kernel**2 + side**2 * wide * out
            channels = out
    return 2 * (total + side**2 * channels * 1280 + 1280 * 1000)


@pytest.mark.full
def test_efficientnet_lite0(tmp_path):
    from mmedge.nets.efficientnet_lite import EfficientNetLite

    found, torchs = traced(EfficientNetLite(), torch.rand(1, 3, 224, 224), tmp_path / "lite.onnx", "pixel_values")
    assert found.flops == efficientnet_by_hand() == torchs
