"""Low-rank adaptation of some layers of a network, by peft, and the network without a trace of it afterwards."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn

from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.training import Lora


def adapted(model: Any, asked: Lora, seed: int) -> nn.Module:
    """A copy of a model of transformers in which nothing is trained but low-rank changes, which begin as none (Hu et al. 2021).

    Args:
        seed: of the changes' first half, which is random; the other half is 0.

    Raises:
        MmedgeError: no layer has such a name, or peft is not installed.
    """
    peft = need("peft", extra="distill")
    linear = {name for name, one in model.named_modules() if isinstance(one, nn.Linear)}
    if unknown := [layer for layer in asked.layers if not any(name == layer or name.endswith(f".{layer}") for name in linear)]:
        known = sorted({name.rsplit(".", 1)[-1] for name in linear})
        raise MmedgeError(f"the network has no linear layer {unknown[0]}", f"its layers: {', '.join(known)}; set layers in [models.ROLE.train.network.lora]")
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=asked.rank, lora_alpha=asked.alpha, lora_dropout=asked.dropout, target_modules=list(asked.layers), bias="none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of what peft asks transformers for
        made: nn.Module = peft.get_peft_model(copy.deepcopy(model), config)
    return made


def merged(model: Any) -> Any:
    """The network with the changes in its own weights; what was trained stays as it is."""
    return copy.deepcopy(model).merge_and_unload(safe_merge=True)
