"""``kind = "dual_encoder"``: pictures and captions in one space, judged by retrieval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmedge.distill.frozen import JUDGED, Frozen, features, score
from mmedge.distill.networks import Built, build, network_of
from mmedge.distill.subject import Given, Untrained
from mmedge.errors import MmedgeError
from mmedge.nets.multimodal_checkpoint import save_checkpoint
from mmedge.optimize.steps import versions
from mmedge.training import Control, Training


class Pairs:
    """A ``Subject``. The encoders stay as they are; what they give of every picture and text is computed once."""

    judged = JUDGED

    def __init__(self, given: Given) -> None:
        self._given = given
        self._built = build(given.training, given.folder)
        _hold_controls(given.training)
        self._found = features(self._built, given.samples, given.training, versions("torch", "transformers", "pillow"), given.report)

    def learner(self, training: Training, *, shuffled: bool = False) -> Paired:
        """See ``Subject``."""
        built = self._anew(training)
        return Paired(built, self._found, self._given.samples, self._given.its, training, shuffled=shuffled)

    def control(self, name: Control) -> Untrained:
        """ConSE alone."""
        built, width = self._anew(self._given.training), network_of(self._given.training).width
        metrics = score(built.model, self._found, self._given.samples, self._given.its.test, begin=width)
        return Untrained(metrics, built.parameters, "untrained: a picture's likeliest classes as sentences")

    def ablations(self, training: Training) -> dict[str, dict[str, Any]]:
        """See ``Subject``."""
        return {"without conse": {"network": network_of(training).model_copy(update={"conse": 0.0})}} if network_of(training).conse else {}

    def _anew(self, training: Training) -> Built:
        built = self._built.anew(training)
        if network_of(training).conse:
            built.model.set_classes(self._found.classes)
        return built


class Paired(Frozen):
    """A ``Learner``."""

    @property
    def parameters(self) -> int:
        """Of the encoders and the heads."""
        return self._built.parameters

    def save(self, folder: Path) -> None:
        """See ``Learner``."""
        save_checkpoint(folder, self._built.model, self._built.words)


def _hold_controls(training: Training) -> None:
    for name in {*training.controls} - {"conse", "shuffled_captions"}:
        raise MmedgeError(f"a dual encoder has no control {name}", "drop it from controls")
    if "conse" in training.controls and not network_of(training).conse:
        raise MmedgeError("the control conse wants a network with ConSE", "set conse in [models.ROLE.train.network], or drop this control")
