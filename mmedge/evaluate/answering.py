"""Tasks whose answers are words: captions, answers to questions about pictures, transcripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmedge.evaluate.data import Data
from mmedge.evaluate.metrics.bootstrap import Metric
from mmedge.evaluate.metrics.captions import captions
from mmedge.evaluate.metrics.speech import speech
from mmedge.evaluate.metrics.vqa import vqa
from mmedge.evaluate.tasks import Answer, Ask, Inputs, Scored, Setting, text_of
from mmedge.manifest import Model


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
    depends: tuple[str, ...] = ()

    def open(self, session: Any) -> Ask:
        verb = getattr(session, self.verb)

        def ask(inputs: Inputs) -> Answer:
            return Answer(verb(*(inputs[column] for column in self.inputs)))

        return ask

    def score(self, session: Any, answers: Sequence[Answer], references: Sequence[Any]) -> Scored:
        said = [answer.text for answer in answers]
        return Scored(self.measured(said, references), said)

    def measured(self, said: Sequence[str], references: Sequence[Any]) -> list[Metric]:
        raise NotImplementedError


@dataclass(frozen=True)
class Caption(_Words):
    name: str = "caption"
    verb: str = "caption"

    def measured(self, said: Sequence[str], references: Sequence[Any]) -> list[Metric]:
        return captions(said, references)


@dataclass(frozen=True)
class Vqa(_Words):
    name: str = "vqa"
    verb: str = "answer"

    def measured(self, said: Sequence[str], references: Sequence[Any]) -> list[Metric]:
        return vqa(said, references)


@dataclass(frozen=True)
class Transcription(_Words):
    name: str = "transcription"
    verb: str = "transcribe"
    depends: tuple[str, ...] = ("normalizer",)

    def measured(self, said: Sequence[str], references: Sequence[Any]) -> list[Metric]:
        return speech(said, [text_of(one) for one in references], self.setting.normalizer)
