"""A dual encoder with encoders that are trained from pixels and tokens, by what its teacher gives for the same samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmedge.distill.networks import Built
from mmedge.errors import MmedgeError
from mmedge.nets.encoders import INPUTS
from mmedge.nets.multimodal import PAIR
from mmedge.nets.multimodal_config import Modality
from mmedge.nets.objectives import WeightedSum
from mmedge.training import Objective, Training

MOMENTUM = 0.1
"""Of batch normalisation's statistics: those that were inherited are of a wider network, and there are few steps to find others."""


class Towers(nn.Module):
    """The encoders that are trained, with their heads; of the other modality embeddings are given.

    Args:
        losses: their projectors are trained along.
    """

    def __init__(self, built: Built, live: Sequence[Modality], losses: Sequence[WeightedSum]) -> None:
        super().__init__()
        model, towers = built.model, built.model.towers
        self.towers = nn.ModuleDict({name: towers[name] for name in PAIR if name in live}).requires_grad_(True)
        self.losses = nn.ModuleList(losses)
        self.logit_scale, self.logit_bias = model.logit_scale.requires_grad_(True), model.logit_bias
        for module in self.towers.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = MOMENTUM

    def forward(self, **feeds: Tensor) -> dict[str, Tensor]:
        """Inputs of the encoders by their names; ``image`` or ``text`` of what has none: embeddings [B, D] -> outputs by the names of objectives' tensors."""
        found: dict[str, Tensor] = {}
        for name in PAIR:
            if name not in self.towers:
                found[f"{name}_embedding"] = feeds[name]
                continue
            tower: Any = self.towers[name]
            pooled = tower.encoder(**{one: feeds[one] for one in INPUTS[name] if one in feeds}).pooled
            found |= {f"{name}_features": pooled, f"{name}_embedding": tower.embed(pooled)}
            if name == "image" and classes(tower.encoder):
                found["logits"] = tower.encoder.network._fc(pooled)
        found["scale"] = self.logit_scale.exp()
        if self.logit_bias is not None:
            found["bias"] = 1 * self.logit_bias
        for loss in self.losses:
            assert isinstance(loss, WeightedSum)
            found = loss.project(found)
        return found


def loss_of(training: Training, student: Built, teacher: Built | None, alone: bool) -> WeightedSum | None:
    """Of the objectives that a picture by itself has (``alone``), or that pairs have; None where there are none.

    Raises:
        MmedgeError: an objective asks for what these networks do not give, or compares vectors that are not equally wide.
    """
    chosen = [one for one in training.objectives if _alone(one) == alone]
    if not chosen:
        return None
    widths = {} if teacher is None else {name: (ours, of(teacher)[name]) for name, ours in of(student).items()}
    loss = WeightedSum(chosen, widths)
    there = {*of(student), "scale", "positives", *(["bias"] if student.model.logit_bias is not None else [])}
    there |= set() if teacher is None else {f"teacher_{name}" for name in [*of(teacher), "scale"]}
    if lacking := sorted(loss.needs - there):
        raise MmedgeError(
            f"the objectives need {lacking[0]}, and there is none: {'no teacher is named' if teacher is None else 'towers do not give it'}",
            f"use objectives of {', '.join(sorted(there))}" if teacher else 'name a teacher: teacher = "ROLE"',
        )
    return loss


def of(built: Built) -> dict[str, int]:
    """What can be compared, and how wide it is."""
    towers: Any = built.model.towers
    image, text = towers["image"].encoder, towers["text"].encoder
    conse = text.width if built.model.config.conse else 0
    wide = built.model.config.width + conse
    found = {"image_features": image.width, "text_features": text.width, "image_embedding": wide, "text_embedding": wide}
    return {**found, "logits": classes(image)} if classes(image) else found


def classes(image: Any) -> int:
    """Of an image encoder's own classifier; 0: it has none."""
    return int(getattr(image.config, "classes", 0))


def _alone(one: Objective) -> bool:
    return one.kind == "logits" or (one.kind == "features" and str(one.settings.get("of", "image_embedding")).startswith("image"))


def given(teacher: Built, image: Tensor, text: Tensor) -> dict[str, Tensor]:
    """What the teacher makes of features that were kept, [B, D] each, by the names of objectives' tensors."""
    model, towers = teacher.model, dict[str, Any](teacher.model.towers.items())
    encoder = towers["image"].encoder
    with torch.no_grad():
        found = {"image_features": image, "text_features": text, "image_embedding": model.embed("image", image), "text_embedding": model.embed("text", text)}
        if classes(encoder):
            found["logits"] = encoder.network._fc(image)
        return {**found, "scale": model.logit_scale.exp()}


def rows(tensors: Mapping[str, Tensor], chosen: Tensor) -> dict[str, Tensor]:
    """Some rows of each."""
    return {name: value[chosen] if value.dim() else value for name, value in tensors.items()}
