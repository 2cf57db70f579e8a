"""Small checkpoints of real architectures, made from transformers' own config classes: one file per family.

``make_NAME(folder)`` writes config.json, model.safetensors and, where ``complete``, tokenizer and processor files as ``save_pretrained`` writes them.
Weights are drawn so that different inputs give different outputs; see ``spread``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

import torch


def spread(model: torch.nn.Module, seed: int = 0, scale: float = 0.3) -> torch.nn.Module:
    """Fill every weight so that outputs depend on inputs: matrices wide enough, norms and biases away from 1 and 0 (some configs start at 1e-10)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() > 1:
                weight.copy_(noise * scale / max(1.0, weight[0].numel() ** 0.5) * 2.5 if "embed" not in name else noise * scale)
            elif "norm" in name.lower() and name.endswith("weight"):
                weight.copy_(1 + 0.2 * noise)
            else:
                weight.copy_(0.1 * noise)
    return model.eval()


def discovered() -> dict[str, Callable[..., object]]:
    """Architecture -> what makes a small checkpoint of it, from the dict CHECKPOINTS of every file here."""
    found: dict[str, Callable[..., object]] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        made = getattr(importlib.import_module(f"{__name__}.{module}"), "CHECKPOINTS", {})
        assert not found.keys() & made.keys(), f"{module} makes what another file makes too"
        found |= made
    return found
