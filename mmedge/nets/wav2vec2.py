"""wav2vec2 and HuBERT of transformers: samples in, one row of logits for every 20 ms out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize


class Encoder(nn.Module):
    """input_values [batch, samples] -> logits [batch, frames, vocabulary]. All sounds of a batch have one length: nothing is masked."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        for module in model.modules():
            if parametrize.is_parametrized(module, "weight"):  # a convolution whose norm is trained apart: compute the product now, not in every run
                parametrize.remove_parametrizations(module, "weight")

    def forward(self, input_values: Tensor) -> Tensor:
        logits: Tensor = self.model(input_values).logits
        return logits


def least_samples(kernels: list[int], strides: list[int]) -> int:
    """How many samples a stack of convolutions needs to give one frame."""
    least = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides)):
        least = (least - 1) * stride + kernel
    return least
