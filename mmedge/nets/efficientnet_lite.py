"""EfficientNet (Tan and Le 2019) in the "lite" form: ReLU6, no squeeze-and-excitation; Lite0 to Lite2 for ImageNet-1k, and students of any depth and width."""

from __future__ import annotations

import pickle
from math import ceil
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmedge.errors import MmedgeError, first_line
from mmedge.nets.multimodal_config import EfficientNetConfig

SIDE = 224
"""Height and width of Lite0's input in pixels."""

CLASSES = 1000


def rounded(channels: float) -> int:
    """To a multiple of 8, never less than nine tenths: how the published widths were made."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8


def _compound(side: int, width: float, depth: float) -> EfficientNetConfig:
    """Lite0 scaled: the stem, the head, and the repeats of the first and last stage stay as they are."""
    stages = EfficientNetConfig().stages
    inner = range(1, len(stages) - 1)
    return EfficientNetConfig(
        side=side,
        stages=tuple(
            (ceil(repeats * depth) if number in inner else repeats, kernel, stride, expansion, rounded(out * width))
            for number, (repeats, kernel, stride, expansion, out) in enumerate(stages)
        ),
    )


LITE = (EfficientNetConfig(), _compound(240, 1.0, 1.1), _compound(260, 1.1, 1.2))
"""The published Lite0, Lite1 and Lite2."""


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME": the odd pixel goes to the right and to the bottom. Shapes must be static when exported."""

    def forward(self, input: Tensor) -> Tensor:
        pads: list[int] = []
        for axis in (3, 2):
            size, kernel, stride = input.shape[axis], self.kernel_size[axis - 2], self.stride[axis - 2]
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] and pads[2] == pads[3]:
            return functional.conv2d(input, self.weight, self.bias, self.stride, (pads[2], pads[0]), self.dilation, self.groups)
        return functional.conv2d(functional.pad(input, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """Inverted bottleneck: widen, filter each channel, project, and add the input but in the first repeat of a stage, whose shape is another."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int, adds: bool) -> None:
        super().__init__()
        wide = channels * expansion
        self.expands, self.adds = expansion > 1, adds
        if self.expands:
            self._expand_conv = SameConv(channels, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = SameConv(wide, out, 1, bias=False)
        self._bn2 = _norm(out)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite(nn.Module):
    """Parameters are named as in the published PyTorch checkpoints, so that their state dict fits as it is."""

    def __init__(self, config: EfficientNetConfig = LITE[0]) -> None:
        super().__init__()
        self.config = config
        self._conv_stem = SameConv(3, config.stem, 3, 2, bias=False)
        self._bn0 = _norm(config.stem)
        blocks, channels = [], config.stem
        for repeats, kernel, stride, expansion, out in config.stages:
            for repeat in range(repeats):
                blocks.append(Block(channels, out, kernel, stride if repeat == 0 else 1, expansion, adds=repeat > 0))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(channels, config.features, 1, bias=False)
        self._bn1 = _norm(config.features)
        if config.classes:
            self._fc = nn.Linear(config.features, config.classes)

    def grid(self, pixel_values: Tensor) -> Tensor:
        """float32 [B, 3, side, side], normalised -> one vector of features for each place: float32 [B, features, side / 32, side / 32], rounded up."""
        x = functional.relu6(self._bn0(self._conv_stem(pixel_values)))
        for block in self._blocks:
            x = block(x)
        return functional.relu6(self._bn1(self._conv_head(x)))

    def features(self, pixel_values: Tensor) -> Tensor:
        """float32 [B, 3, side, side], normalised -> pooled features float32 [B, features]."""
        return self.grid(pixel_values).mean((2, 3))

    def forward(self, pixel_values: Tensor) -> Tensor:
        """float32 [B, 3, side, side], normalised -> logits float32 [B, classes], published weights: in the order of ImageNet-1k's sorted WordNet ids."""
        logits: Tensor = self._fc(self.features(pixel_values))
        return logits


def load_efficientnet_lite(path: Path, number: int) -> EfficientNetLite:
    """Read the ``.pth`` state dict of Lite0, Lite1 or Lite2 as data, nothing in it is executed. Raises MmedgeError: not such a checkpoint."""
    model = EfficientNetLite(LITE[number])
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, OSError, EOFError, AttributeError, TypeError, pickle.UnpicklingError) as error:
        raise MmedgeError(
            f"{path} is no EfficientNet-Lite{number} checkpoint: {first_line(error)}",
            "fetch it again, or name the right file",
        ) from error
    return model.eval()


def load_efficientnet_lite0(path: Path) -> EfficientNetLite:
    """``load_efficientnet_lite`` of Lite0."""
    return load_efficientnet_lite(path, 0)
