"""``kind = "fusion"``: several modalities that become a class, or a picture and a text that belong together or not."""

from __future__ import annotations

from typing import Any

from mmedge.distill import classified, matched
from mmedge.distill.classified import Classified
from mmedge.distill.fused import Material
from mmedge.distill.known import known, lacking
from mmedge.distill.matched import Matched
from mmedge.distill.modalities import modalities, network_of
from mmedge.distill.subject import Given, Untrained
from mmedge.errors import MmedgeError
from mmedge.nets.multimodal_config import MODALITIES
from mmedge.optimize.steps import versions
from mmedge.training import Control, Training

KINDS = ("concat", "weighted_sum", "deep", "cross_attention")


class Fusions:
    """A ``Subject``. The encoders stay as they are; what they give of every sample is computed once."""

    def __init__(self, given: Given) -> None:
        training, asked, samples = given.training, network_of(given.training), given.samples
        self._matches = asked.head == "match"
        _hold(training)
        its = modalities(training, given.folder)
        its.config(training, _labels(given))
        key = {"weights": given.weights, **versions("torch", "transformers", "pillow")}
        found = {name: known(name, its, samples, key, given.report) for name in its.encoders}
        self._material = Material(its, found, samples, given.its, _labels(given), {})
        for what, numbers in (("train on", given.its.train), ("test on", given.its.test)):
            if said := lacking(samples, list(found), numbers):
                given.report(f"to {what}: {said}")
        self.judged = matched.JUDGED if self._matches else classified.JUDGED

    def learner(self, training: Training, *, shuffled: bool = False) -> Classified | Matched:
        """See ``Subject``."""
        return (Matched if self._matches else Classified)(self._material, training, shuffled=shuffled)

    def control(self, name: Control) -> Untrained:
        """What is most frequent, or what the nearest caption says."""
        material = self._material
        if name == "majority_class":
            said = [classified.majority(material)] * len(material.parts.test)
            return Untrained(classified.scored(material, said, material.parts.test), 0, "untrained: the most frequent class")
        parameters = sum(one.numel() for one in material.its.encoders["text"].parameters())
        if self._matches:
            parameters += sum(one.numel() for one in material.its.encoders["image"].parameters())
            return Untrained(matched.nearest(material), parameters, "untrained: how near a text is to the caption of the most similar picture")
        found = classified.scored(material, classified.nearest(material), material.parts.test)
        return Untrained(found, parameters, "untrained: the class of the nearest caption")

    def ablations(self, training: Training) -> dict[str, dict[str, Any]]:
        """The other fusions; and each modality left out, or alone."""
        asked = network_of(training)
        names = [name for name in MODALITIES if getattr(asked, name)]
        made: dict[str, dict[str, Any]] = {}
        for kind in KINDS:
            if kind != asked.fusion and len(names) > 1:
                made[f"fusion {kind}"] = {"network": asked.model_copy(update={"fusion": kind})}
        if self._matches or len(names) < 2:
            return made
        for name in names:
            rest = {"fusion": asked.fusion if len(names) > 2 else "concat", name: ""}
            made[f"without {name}"] = {"network": asked.model_copy(update=rest)}
        for name in names if len(names) > 2 else ():
            alone: dict[str, Any] = {"fusion": "concat", **dict.fromkeys([other for other in names if other != name], "")}
            made[f"{name} alone"] = {"network": asked.model_copy(update=alone)}
        return made


def _labels(given: Given) -> tuple[str, ...]:
    """Of everything that is trained or tested on. Raises MmedgeError: there is one alone."""
    if network_of(given.training).head == "match":
        return ()
    asked = {int(number) for part in (given.its.train, given.its.validation, given.its.test) for number in part}
    found = tuple(sorted({given.samples.labels[number] for number in asked}))
    if len(found) == 1:
        raise MmedgeError(f"every sample is of the class {found[0]!r}: there is nothing to tell apart", "give data of several classes")
    return found


def _hold(training: Training) -> None:
    """Raises MmedgeError: the recipe asks for what a fusion has not."""
    asked = network_of(training)
    needed = {"match": {"image", "text"}, "classify": {"label"}}[asked.head]
    if lacks := sorted(needed - {*training.data}):
        raise MmedgeError(f"the head {asked.head} needs the column {lacks[0]} of every sample", f"add it: data = {[*training.data, *lacks]}")
    if training.views > 1:
        raise MmedgeError("a fusion is trained on samples as they are: it has no views", "drop views from [models.ROLE.train]")
    if not any(getattr(asked, name) for name in MODALITIES):
        raise MmedgeError("the recipe names no encoder", "add to [models.ROLE.train.network] at least one of: image, text, audio")
    for name in training.controls:
        if name not in ("majority_class", "nearest_caption", "shuffled_captions") or (name == "majority_class" and asked.head == "match"):
            raise MmedgeError(f"a fusion with the head {asked.head} has no control {name}", "drop it from controls")
        if name in ("nearest_caption", "shuffled_captions") and not asked.text:
            raise MmedgeError(f"the control {name} wants captions, and this fusion reads no text", "name a text encoder, or drop this control")
