"""What is trained of a fusion: everything above its encoders, on what those gave earlier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mmedge.distill.known import Known
from mmedge.distill.modalities import Modalities
from mmedge.distill.samples import Numbers, Parts, Samples
from mmedge.nets.fusing import Encoded
from mmedge.nets.multimodal import Fusion
from mmedge.nets.multimodal_checkpoint import save_checkpoint
from mmedge.nets.multimodal_config import FusionConfig, Modality
from mmedge.nets.objectives import WeightedSum
from mmedge.training import Training

Present = NDArray[np.bool_]
"""[samples, modalities]."""
FIRST_SCALE = 1 / 0.07
"""Of contrast, in the beginning (Radford et al. 2021)."""
AT_ONCE = 128
"""Samples that are answered together."""


@dataclass(frozen=True, eq=False)
class Material:
    """What all trainings of one report share."""

    its: Modalities
    known: Mapping[Modality, Known]
    samples: Samples
    parts: Parts
    labels: tuple[str, ...]
    """Of a classifier, sorted."""
    states: dict[Modality, Tensor]
    """What encoders gave in full, once it was asked for."""

    def all_states(self, name: Modality) -> Tensor:
        """[rows, T, D]."""
        if name not in self.states:
            self.states[name] = self.known[name].states()
        return self.states[name]


class _Known(nn.Module):
    """Stands for an encoder whose outputs are known."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width


class Heads(nn.Module):
    """Of a fusion: what encoders gave in, answers out."""

    def __init__(self, config: FusionConfig, widths: Mapping[Modality, int]) -> None:
        super().__init__()
        self.fusion = Fusion(config, {name: _Known(width) for name, width in widths.items()})
        self.log_scale = nn.Parameter(torch.tensor(FIRST_SCALE).log())

    def forward(self, present: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """``present`` bool [B, modalities]; of each MODALITY_pooled [B, D], with cross-attention MODALITY_tokens [B, T, D], text_mask [B, T].

        A matcher's text may be several of each picture, [B, n, ...]: logits are [B, n] then, and the first one is the picture's own.
        """
        asked = self.fusion.config
        several = given["text_pooled"].shape[1] if asked.head == "match" else 1
        encoded = {name: self._encoded(name, given, several) for name in asked.modalities}
        found = self.fusion.fuse(encoded, present.repeat_interleave(several, 0))
        if asked.head == "classify":
            return {"logits": found.logits, **{f"{name}_alone": logits for name, logits in found.alone.items()}}
        own = {name: self.fusion.projections[name](one.pooled[::several]) for name, one in encoded.items()}
        embedded = {f"{name}_embedding": F.normalize(one.float(), dim=-1) for name, one in own.items()}
        return {"logits": found.logits.unflatten(0, (-1, several)), **embedded, "scale": self.log_scale.exp()}

    def _encoded(self, name: Modality, given: Mapping[str, Tensor], several: int) -> Encoded:
        made = {what: given[f"{name}_{what}"] for what in ("pooled", "tokens", "mask") if f"{name}_{what}" in given}
        if several > 1:
            made = {what: value.flatten(0, 1) if name == "text" else value.repeat_interleave(several, 0) for what, value in made.items()}
        elif self.fusion.config.head == "match" and name == "text":
            made = {what: value.flatten(0, 1) for what, value in made.items()}
        return Encoded(made["pooled"], made.get("tokens", made["pooled"].unsqueeze(1)), made.get("mask"))


class Fused:
    """The half of a ``Learner`` that classifiers and matchers share."""

    def __init__(self, material: Material, training: Training) -> None:
        self._material, self._training = material, training
        self._config = material.its.config(training, material.labels)
        self._names = self._config.modalities
        torch.manual_seed(training.seed)
        self._heads = Heads(self._config, {name: material.its.encoders[name].width for name in self._names})
        self._loss = WeightedSum(training.objectives)
        self._rows = {name: material.known[name].rows for name in self._names}
        self._there: Present = np.stack([self._rows[name] >= 0 for name in self._names], 1)

    @property
    def module(self) -> nn.Module:
        return self._heads

    @property
    def parameters(self) -> int:
        """Of the encoders and what is above them."""
        above = sum(one.numel() for one in self._heads.fusion.parameters())
        return above + sum(one.numel() for name in self._names for one in self._material.its.encoders[name].parameters())

    def save(self, folder: Path) -> None:
        """See ``Learner``."""
        made = Fusion(self._config, {name: self._material.its.encoders[name] for name in self._names})
        made.load_state_dict(self._heads.fusion.state_dict(), strict=False)
        save_checkpoint(folder, made, self._material.its.words if "text" in self._names else None)

    def _given(self, rows: Mapping[Modality, Numbers]) -> dict[str, Tensor]:
        """What the encoders gave. Rows [...] of each modality; of what is missing (-1) anything: it is hidden by ``present``."""
        made: dict[str, Tensor] = {}
        for name, chosen in rows.items():
            known, at = self._material.known[name], torch.from_numpy(np.maximum(chosen, 0))
            made[f"{name}_pooled"] = known.pooled[at]
            if self._config.fusion == "cross_attention":
                mask = None if known.mask is None else known.mask[at]
                longest = slice(None) if mask is None else torch.nonzero(mask.flatten(0, -2).any(0)).flatten()
                made[f"{name}_tokens"] = self._material.all_states(name)[at][..., longest, :]
                if mask is not None:
                    made[f"{name}_mask"] = mask[..., longest]
        return made

    def _shown(self, numbers: Numbers, step: int) -> Present:
        """[numbers, modalities]: what a training step shows of each sample, the same each time. One modality that is there always stays."""
        shown, rate = self._there[numbers].copy(), self._training.modality_dropout
        for at, number in enumerate(numbers.tolist() if rate else ()):
            random = np.random.default_rng([self._training.seed, step, number])
            kept = shown[at] & (random.random(len(self._names)) >= rate)
            if not kept.any():
                kept[random.choice(np.flatnonzero(shown[at]))] = True
            shown[at] = kept
        return shown

    def _answers(self, present: Present, rows: Mapping[Modality, Numbers]) -> Tensor:
        """Logits of many samples."""
        self._heads.eval()
        device, found = next(self._heads.parameters()).device, []
        with torch.inference_mode():
            for begin in range(0, len(present), AT_ONCE):
                part = slice(begin, begin + AT_ONCE)
                inputs = {"present": torch.from_numpy(present[part]), **self._given({name: chosen[part] for name, chosen in rows.items()})}
                found.append(self._heads(**{name: value.to(device) for name, value in inputs.items()})["logits"].double().cpu())
        return torch.cat(found)
