"""A causal language model of transformers: tokens in, the logits of what follows the last of them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mmedge.nets.decoder import last


class Causal(nn.Module):
    """A body for ``mmedge.nets.decoder``: any ``...ForCausalLM`` that is a ``model`` with an ``lm_head`` on it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.lm_head = model.model, model.lm_head

    def forward(self, inputs: Mapping[str, Tensor], cache: Any, mask: Tensor, positions: Tensor) -> Tensor:
        states = self.model(input_ids=inputs["input_ids"], attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True).last_hidden_state
        logits: Tensor = self.lm_head(last(states))
        return logits
