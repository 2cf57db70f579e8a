"""``kind = "speech"``: a Whisper learns to hear a shorter window than the one that it was trained for, judged by the word errors of what it writes.

The teacher is the same Whisper with its own window, and hears every sound as it is; the student hears views of it. Short windows without training make it write
in circles (``loop_rate``); training on synthetic voices alone can cost it those of people, which a recipe's guard holds.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmedge.distill.answers import Answers, answers, tokens_in, written
from mmedge.distill.guard import guarded, of_guard
from mmedge.distill.lora import adapted, merged
from mmedge.distill.samples import Numbers, Reader
from mmedge.distill.short_window import Ears, read_ears, save_ears, shortened
from mmedge.distill.sound_views import hold_views, sound_view
from mmedge.distill.subject import Given, Untrained
from mmedge.distill.training import Chosen
from mmedge.errors import MmedgeError
from mmedge.evaluate.metrics.bootstrap import Draft, Metric, mean, measure
from mmedge.evaluate.metrics.bootstrap import Samples as Units
from mmedge.evaluate.metrics.speech import speech
from mmedge.evaluate.samples import Unreadable
from mmedge.generate.decode import Decoded
from mmedge.nets.objectives import WeightedSum
from mmedge.optimize.steps import versions
from mmedge.processors.audio import Samples
from mmedge.processors.log_mel import RATE_HZ
from mmedge.processors.resample import resample
from mmedge.training import Control, SpeechNetwork, Training

JUDGED = "wer"
NEEDED = ("audio", "transcript")


@dataclass(frozen=True, eq=False)
class Clips:
    """Sounds that fit into the window, float32 [n] at 16 kHz, and what is said in them, by the samples' numbers."""

    sounds: Mapping[int, Samples]
    said: Mapping[int, str]

    def among(self, numbers: Numbers) -> list[int]:
        """Those of these samples."""
        return [number for number in numbers.tolist() if number in self.sounds]


class Speech:
    """A ``Subject``."""

    judged = JUDGED

    def __init__(self, given: Given) -> None:
        training = given.training
        _hold(training)
        assert isinstance(training.network, SpeechNetwork)
        self._given, self._asked = given, training.network
        self._teacher = read_ears(given.folder, self._asked)
        self._student = shortened(self._teacher, self._asked.window_s)
        its = given.its
        self._guard = guarded(given.samples, its, training.guard) if training.guard else its.test[:0]
        self._clips = _read(given, self._student, np.concatenate([its.train, its.validation, its.test, self._guard]))
        self._train = self._clips.among(its.train)
        self._key = {"weights": given.weights, "data": given.samples.fingerprint, "language": self._asked.language, **versions("torch", "transformers")}
        self._parameters = sum(one.numel() for one in self._student.checkpoint.model.parameters())

    def learner(self, training: Training, *, shuffled: bool = False) -> Adapted:
        """See ``Subject``."""
        if shuffled:
            raise MmedgeError("speech has no captions to shuffle", "take shuffled_captions out of the controls")
        return Adapted(self, training)

    def control(self, name: Control) -> Untrained:
        """The network as it was, with its own window (``teacher``) or with the short one (``unadapted``)."""
        if name not in ("teacher", "unadapted"):
            raise MmedgeError(f"speech has no control {name}", 'use "teacher" and "unadapted"')
        ears = self._teacher if name == "teacher" else self._student
        metrics = self.metrics(functools.partial(self._written, ears), self._given.its.test)
        return Untrained(metrics, self._parameters, f"unadapted: what it was trained as, through a window of {ears.window_s} s")

    def ablations(self, training: Training) -> dict[str, dict[str, Any]]:
        """What the teacher has to say beside the words, left out."""
        found = {}
        for one in training.objectives:
            if one.kind == "sequence" and one.settings.get("alpha", 1.0):
                plain = one.model_copy(update={"settings": {**one.settings, "alpha": 0.0}})
                found["without the teacher"] = {"objectives": tuple(plain if other is one else other for other in training.objectives)}
        return found

    def metrics(self, write: Any, test: Numbers) -> list[Metric]:
        """Of what somebody writes of the test, and of the guard's samples."""
        found = self._judged(write, test)
        return found + (of_guard(self._judged(write, self._guard), self._given.training.guard) if self._given.training.guard else [])

    def _judged(self, write: Any, numbers: Numbers) -> list[Metric]:
        chosen = self._clips.among(numbers)
        found: Sequence[Decoded] = write(chosen)
        heard, said = [self._student.words(one) for one in found], [self._clips.said[number] for number in chosen]
        looped = np.array([[one.stopped != "stop"] for one in found], np.float64).reshape(-1, 1)
        how = "transcripts that end in a loop, or are longer than anybody speaks"
        return speech(heard, said, "english") + measure([Draft("loop_rate", Units(looped, mean), higher_is_better=False, how=how)])

    def _written(self, ears: Ears, chosen: Sequence[int]) -> list[Decoded]:
        return written(ears, [self._clips.sounds[number] for number in chosen], {**self._key, "samples": list(chosen)}, self._given.report)

    def _labels(self) -> list[list[int]]:
        """Tokens of every sound that is trained on, without prompt and stop token."""
        if self._asked.labels == "teacher":
            return [list(one.tokens) for one in self._written(self._teacher, self._train)]
        found = []
        for number in self._train:
            tokens = self._student.checkpoint.words.encode(f" {self._clips.said[number].strip()}", add_special_tokens=False).ids
            if not 0 < len(tokens) < self._student.places:
                key, places = self._given.samples.keys[number], self._student.places
                raise MmedgeError(f"the transcript of {key} has {len(tokens)} tokens, and {places} can be said", "correct it, or leave the sample out")
            found.append(tokens)
        return found

    @functools.cached_property
    def _answers(self) -> Answers:
        told = next((one.settings for one in self._given.training.objectives if one.kind == "sequence"), {})
        sounds = [self._clips.sounds[number] for number in self._train]
        temperature = told.get("temperature", 2.0)
        assert isinstance(temperature, (int, float)), "held by the objective"
        key = {**self._key, "samples": self._train, "window_s": self._teacher.window_s}
        return answers(self._teacher, sounds, self._labels(), self._asked.top_k, temperature, key, self._given.report)


class _Listening(nn.Module):
    """Features and tokens in, logits of each place of the labels out."""

    def __init__(self, network: nn.Module, loss: WeightedSum, prompt: int) -> None:
        super().__init__()
        self.network, self.loss, self._prompt = network, loss, prompt

    def forward(self, input_features: Tensor, decoder_input_ids: Tensor) -> dict[str, Tensor]:
        logits = self.network(input_features=input_features, decoder_input_ids=decoder_input_ids, use_cache=False).logits
        return {"logits": logits[:, self._prompt - 1 :].float()}


class Adapted:
    """A ``Learner``."""

    def __init__(self, subject: Speech, training: Training) -> None:
        self._subject, self._training, self._student = subject, training, subject._student
        network = adapted(self._student.checkpoint.model, subject._asked.lora, training.seed)
        self.module = _Listening(network, WeightedSum(training.objectives), len(self._student.checkpoint.config.prompt))
        self.keys = [subject._given.samples.keys[number] for number in subject._train]
        self.parameters = subject._parameters
        self._answers = subject._answers  # computed before the training begins, so that its pace is told truly

    def inputs(self, chosen: Chosen, step: int) -> dict[str, Tensor]:
        training, found = self._training, []
        for at in chosen.tolist():
            number = self._subject._train[at]
            view = int(np.random.default_rng([training.seed, step, at]).integers(training.views))
            sound = sound_view(self._subject._clips.sounds[number], RATE_HZ, view, training.augment if view else (), [training.seed, number])
            found.append(self._student.features(sound))
        return {"input_features": torch.cat(found), "decoder_input_ids": tokens_in(self._student, self._answers.labels[chosen])}

    def losses(self, outputs: Mapping[str, Tensor], chosen: Chosen, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        kept, where = self._answers, outputs["logits"].device
        given = {"labels": kept.labels, "teacher_top_ids": kept.ids, "teacher_top_log_probs": kept.log_probs}
        total, terms = self.module.loss({**outputs, **{name: value[chosen].to(where) for name, value in given.items()}})
        return total, terms

    def validate(self) -> float | None:
        if not len(validation := self._subject._given.its.validation):
            return None
        found = next(one for one in self._subject._judged(self._write, validation) if one.name == JUDGED).estimate
        return -found.value if found else None

    def score(self, numbers: Numbers) -> list[Metric]:
        """Word errors and loops on these samples, and on the guard's."""
        return self._subject.metrics(self._write, numbers)

    def save(self, folder: Any) -> None:
        """See ``Learner``."""
        save_ears(folder, self._ears(), self._subject._given.folder)

    def _ears(self) -> Ears:
        return self._student.having(merged(self.module.network))

    def _write(self, chosen: Sequence[int]) -> list[Decoded]:
        ears = self._ears()
        return [ears.write(self._subject._clips.sounds[number]) for number in chosen]


def _hold(training: Training) -> None:
    """Raises MmedgeError: the recipe asks for what speech has not."""
    if lacking := [column for column in NEEDED if column not in training.data]:
        raise MmedgeError(
            f"speech is trained on sounds and transcripts, and data names no {lacking[0]}", 'set data = ["audio", "transcript"] in [models.ROLE.train]'
        )
    if wrong := [one.kind for one in training.objectives if one.kind != "sequence"]:
        raise MmedgeError(
            f"speech has no objective {wrong[0]}", "use sequence, whose settings alpha and beta weigh the teacher and the words, or cross_entropy"
        )
    if training.views > 1:
        hold_views(training.augment)


def _read(given: Given, ears: Ears, numbers: Numbers) -> Clips:
    """Sounds that fit into the window; how many do not is told. Raises MmedgeError: one cannot be decoded, or nothing is left to train on or to test on."""
    sounds, said = {}, {}
    for number, sample in zip(asked := sorted(set(numbers.tolist())), Reader(given.samples.data)(asked)):
        try:
            samples, rate_hz = sample.sound()
        except Unreadable as error:
            raise MmedgeError(error.what, error.fix) from error
        samples = resample(samples, rate_hz, RATE_HZ)
        if len(samples) <= ears.longest:
            sounds[number], said[number] = samples, str(sample.fields["transcript"])
    if len(sounds) < len(asked):
        given.report(f"{len(asked) - len(sounds)} of {len(asked)} sounds are longer than {ears.longest / RATE_HZ:g} s, and left out")
    clips = Clips(sounds, said)
    for what, part in (("train", given.its.train), ("test", given.its.test)):
        if not clips.among(part):
            raise MmedgeError(
                f"every sound to {what} on is longer than {ears.longest / RATE_HZ:g} s", "raise window_s in [models.ROLE.train.network], or cut them"
            )
    return clips
