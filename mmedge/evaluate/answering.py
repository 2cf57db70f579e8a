"""Tasks whose answers are words: captions, answers to questions about pictures, transcripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmedge.evaluate.data import Data
from mmedge.evaluate.metrics.bootstrap import Metric
from mmedge.evaluate.metrics.captions import captions
from mmedge.evaluate.metrics.speech import speech
from mmedge.evaluate.metrics.vqa import vqa
from mmedge.evaluate.tasks import Answer, Ask, Inputs, Scored, Setting, text_of
from mmedge.manifest import Model

Measured = Callable[[Sequence[str], Sequence[Any], Setting], list[Metric]]


def _captions(said: Sequence[str], references: Sequence[Any], setting: Setting) -> list[Metric]:
    return captions(said, references)


def _vqa(said: Sequence[str], references: Sequence[Any], setting: Setting) -> list[Metric]:
    return vqa(said, references)


def _speech(said: Sequence[str], references: Sequence[Any], setting: Setting) -> list[Metric]:
    return speech(said, [text_of(one) for one in references], setting.normalizer)


@dataclass(frozen=True)
class _Words:
    """``verb`` of the inputs, in their order."""

    model: Model
    data: Data
    inputs: tuple[str, ...]
    wants: str
    setting: Setting
    name: str = ""
    verb: str = ""
    measured: Measured = _captions
    metrics: tuple[str, ...] = ()
    agreement: tuple[str, ...] = ("top1_agreement",)
    own: str = ""
    """The metric that it is judged by where there are right answers."""
    optional: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()

    @property
    def judged(self) -> str:
        return self.own if self.wants else "top1_agreement"

    def open(self, session: Any) -> Ask:
        verb = getattr(session, self.verb)

        def ask(inputs: Inputs) -> Answer:
            return Answer(verb(*(inputs[column] for column in self.inputs)))

        return ask

    def use(self, session: Any, inputs: Inputs, reference: Any) -> None:
        self.open(session)(inputs)

    def score(self, session: Any, answers: Sequence[Answer], references: Sequence[Any]) -> Scored:
        said = [answer.text for answer in answers]
        return Scored(self.measured(said, references, self.setting) if self.wants else [], said)


@dataclass(frozen=True)
class Caption(_Words):
    name: str = "caption"
    verb: str = "caption"
    metrics: tuple[str, ...] = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d", "meteor")
    own: str = "cider_d"


@dataclass(frozen=True)
class Vqa(_Words):
    name: str = "vqa"
    verb: str = "answer"
    measured: Measured = _vqa
    metrics: tuple[str, ...] = ("vqa_accuracy", "exact_match")
    own: str = "vqa_accuracy"


@dataclass(frozen=True)
class Transcription(_Words):
    name: str = "transcription"
    verb: str = "transcribe"
    measured: Measured = _speech
    metrics: tuple[str, ...] = ("wer", "cer")
    own: str = "wer"
    depends: tuple[str, ...] = ("normalizer",)
