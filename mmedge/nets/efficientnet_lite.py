"""EfficientNet-Lite0 (Tan and Le 2019, in the "lite" form: ReLU6, no squeeze-and-excitation), for ImageNet-1k at 224 x 224 pixels."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmedge.errors import MmedgeError, first_line

SIDE = 224
"""Height and width of the input in pixels."""

CLASSES, FEATURES, STEM = 1000, 1280, 32

STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
"""Repeats, kernel, stride of the first repeat, expansion, output channels."""


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
    """Inverted bottleneck: widen, filter each channel, project, and add the input where shapes allow it."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and channels == out
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


class EfficientNetLite0(nn.Module):
    """Parameters are named as in the published PyTorch checkpoints, so that their state dict fits as it is."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, STEM, 3, 2, bias=False)
        self._bn0 = _norm(STEM)
        blocks, channels = [], STEM
        for repeats, kernel, stride, expansion, out in STAGES:
            for repeat in range(repeats):
                blocks.append(Block(channels, out, kernel, stride if repeat == 0 else 1, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(channels, FEATURES, 1, bias=False)
        self._bn1 = _norm(FEATURES)
        self._fc = nn.Linear(FEATURES, CLASSES)

    def features(self, pixel_values: Tensor) -> Tensor:
        """float32 [B, 3, 224, 224], normalised -> pooled features float32 [B, 1280]."""
        x = functional.relu6(self._bn0(self._conv_stem(pixel_values)))
        for block in self._blocks:
            x = block(x)
        return functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def forward(self, pixel_values: Tensor) -> Tensor:
        """float32 [B, 3, 224, 224], normalised -> logits float32 [B, 1000] in the order of ImageNet-1k's sorted WordNet ids."""
        logits: Tensor = self._fc(self.features(pixel_values))
        return logits


def load_efficientnet_lite0(path: Path) -> EfficientNetLite0:
    """Read a ``.pth`` state dict as data, nothing in it is executed. Raises MmedgeError: not such a checkpoint."""
    model = EfficientNetLite0()
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, OSError, EOFError, AttributeError, TypeError, pickle.UnpicklingError) as error:
        raise MmedgeError(
            f"{path} is no EfficientNet-Lite0 checkpoint: {first_line(error)}",
            "fetch it again, or name the right file",
        ) from error
    return model.eval()
