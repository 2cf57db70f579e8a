"""``kind = "dual_encoder"`` where encoders are trained: by a teacher that is another role of the recipe, or as a whole."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from mmedge.distill.frozen import JUDGED, features, pictures, score
from mmedge.distill.networks import Built, build, from_checkpoint, network_of
from mmedge.distill.students.towers import student_of
from mmedge.distill.subject import Given, Untrained
from mmedge.distill.taught import Lesson, Taught, Unlabelled
from mmedge.distill.towers import loss_of
from mmedge.errors import MmedgeError
from mmedge.evaluate.data import Data
from mmedge.nets.multimodal import PAIR
from mmedge.nets.multimodal_config import Modality
from mmedge.optimize.steps import versions
from mmedge.training import Control, Training


class Lessons:
    """A ``Subject``. What the teacher gives of every picture, in every view, and of every text is computed once."""

    judged = JUDGED

    def __init__(self, given: Given) -> None:
        self._given, training = given, given.training
        if network_of(training).conse or training.pseudo_pairs:
            raise MmedgeError(
                "conse and pseudo_pairs are for heads on encoders that stay as they are, and encoders are trained here",
                "drop them from this role: a student has its teacher's ConSE",
            )
        if given.unlabelled is not None and ("image" not in training.student or given.teacher is None):
            raise MmedgeError("pictures without texts are for a picture student", "name one: [models.ROLE.train.student.image]; or leave out --unlabelled")
        self._live: tuple[Modality, ...] = tuple(one for one in PAIR if one in training.student or not training.student)
        self._teacher = from_checkpoint(given.teacher) if given.teacher is not None else None
        self._base = self._teacher or build(training, given.folder)
        read = [sample.fields for sample in given.samples.data]
        texts = tuple(tuple(one.get("teacher_text") or one["text"]) for one in read)
        student = self._student(training)
        alone, _ = (loss_of(training, student, self._teacher, one) for one in (True, False))  # before the teacher is asked
        if given.unlabelled is not None and alone is None:
            raise MmedgeError(
                "pictures without texts serve no objective of this recipe", "add features of the image, or logits, to its objectives; or leave out --unlabelled"
            )
        if given.teacher is not None and not training.student and training.tune == "heads":
            raise MmedgeError("a teacher is named, and nothing that learns from it", 'name a student, [models.ROLE.train.student.text], or set tune = "all"')
        found = unlabelled = None
        if self._teacher is not None:
            found = features(self._teacher, replace(given.samples, texts=texts), training, _packages(), given.report)
            unlabelled = self._unlabelled(given.unlabelled, self._teacher) if given.unlabelled is not None else None
        self._lesson = Lesson(training, given.samples, given.its, self._teacher, found, texts, unlabelled)

    def learner(self, training: Training, *, shuffled: bool = False) -> Taught:
        """See ``Subject``."""
        return Taught(self._student(training), self._live, self._lesson, training, shuffled=shuffled)

    def control(self, name: Control) -> Untrained:
        """The teacher, ConSE alone as the teacher has it, or the student as it was cut."""
        if name == "dropped_layers" and self._given.training.student:
            learner = self.learner(self._given.training)
            return Untrained(learner.score(self._given.its.test), learner.parameters, "the student before its training")
        if name not in ("teacher", "conse") or self._teacher is None:
            raise MmedgeError(f"there is no control {name} of what is trained here", "drop it from controls")
        if name == "conse" and not self._teacher.model.config.conse:
            raise MmedgeError("the control conse wants a network with ConSE", "drop this control, or take a teacher with ConSE")
        begin, found = (self._teacher.model.config.width if name == "conse" else 0), self._lesson.found
        assert found is not None
        samples = replace(self._given.samples, texts=self._lesson.teacher_texts)
        note = f"{self._given.training.teacher}, as it is" if name == "teacher" else "untrained: a picture's likeliest classes as sentences"
        return Untrained(score(self._teacher.model, found, samples, self._given.its.test, begin=begin), self._teacher.parameters, note)

    def ablations(self, training: Training) -> dict[str, dict[str, Any]]:
        """See ``Subject``."""
        return {}

    def _student(self, training: Training) -> Built:
        samples, its = self._given.samples, self._given.its
        trained = [text for number in its.train for text in samples.texts[number]]
        base = self._base if self._teacher is not None else self._base.anew(training)
        made = student_of(base, training, [text for texts in samples.texts for text in texts], trained)
        towers: Any = made.model.towers
        for name in self._live:
            if name not in training.student:
                towers[name].encoder = copy.deepcopy(towers[name].encoder)
        return made

    def _unlabelled(self, data: Data, teacher: Built) -> Unlabelled:
        if "image" not in data.columns:
            raise MmedgeError(f"{data.name} has no pictures", "name a folder of pictures: --unlabelled FOLDER")
        seen = data.having(["image"])
        keys = tuple(sample.key for sample in seen)
        return Unlabelled(seen, keys, pictures(teacher, seen, len(keys), self._given.training.model_copy(update={"views": 1}), _packages(), self._given.report))


def _packages() -> dict[str, str]:
    return versions("torch", "transformers", "pillow")
