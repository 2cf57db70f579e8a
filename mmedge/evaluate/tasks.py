"""What a task is: how a model is asked about one sample, and how its answers are scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmedge.evaluate.metrics.bootstrap import Metric
from mmedge.evaluate.metrics.classification import ClassFigures
from mmedge.evaluate.metrics.speech import Normalizer
from mmedge.evaluate.samples import Sample, Unreadable

Vector = NDArray[np.float64]
Inputs = Mapping[str, Any]
"""Column -> what a verb takes: a Pillow image, (samples, rate in Hz), or a text."""


@dataclass(frozen=True)
class Setting:
    """What figures depend on beside model and data."""

    prompt: str = "{}"
    """What the name of a class is put into before an image-text model compares it: ``a photo of a {}``."""
    normalizer: Normalizer = "english"
    """Of transcripts, see ``mmedge.evaluate.metrics.speech``."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model made of one sample."""

    text: str = ""
    vector: Vector | None = None
    """An embedding, or the scores of all classes."""
    kept: Any = None
    """What the session made of the sample, where scoring goes on from that."""


@dataclass(frozen=True, eq=False)
class Scored:
    """All answers, held against what is right."""

    metrics: Sequence[Metric]
    said: Sequence[str]
    """The answer to each sample, in words."""
    scores: Vector | None = None
    """[samples, candidates], where the candidates were the same for all."""
    beside: Vector | None = None
    """[samples, width]: what the model made of each sample's reference, where it embeds that too."""
    classes: Sequence[ClassFigures] = ()


Ask = Callable[[Inputs], Answer]


class Task(Protocol):
    """One task of one model on one data set."""

    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns that the model is given."""
        ...

    @property
    def optional(self) -> tuple[str, ...]:
        """Those of them that a sample may lack, as long as it has one: the model knows that they are missing."""
        ...

    @property
    def wants(self) -> str:
        """The column that its answers are held against; empty where the data have none: such answers can only be compared with fp32's."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that ``score`` may give."""
        ...

    @property
    def agreement(self) -> tuple[str, ...]:
        """The metrics by which its answers can be compared with fp32's (``mmedge.evaluate.metrics.agreement``)."""
        ...

    @property
    def judged(self) -> str:
        """The metric that a gate goes by where nobody names one: of these, or without right answers an agreement with fp32."""
        ...

    @property
    def depends(self) -> tuple[str, ...]:
        """Which of the setting its figures depend on."""
        ...

    def open(self, session: Any) -> Ask:
        """What asks a session about one sample. What is the same for all samples is computed here."""
        ...

    def use(self, session: Any, inputs: Inputs, reference: Any) -> None:
        """Do with one sample all that the task does, so that every graph that has a part in it runs."""
        ...

    def score(self, session: Any, answers: Sequence[Answer], references: Sequence[Any]) -> Scored:
        """``references``: the column ``wants`` of the samples that were answered, one or more; None where there is no such column."""
        ...


def decode(sample: Sample, columns: Iterable[str]) -> dict[str, Any]:
    """A sample's inputs, as verbs take them; None for one that it lacks. Raises Unreadable: one cannot be read, or there is none."""
    media: dict[str, Callable[[], Any]] = {"image": sample.picture, "audio": sample.sound}
    wanted = tuple(columns)
    if not sample.fields.keys() & wanted:
        raise Unreadable(f"{sample.key} has no {' and no '.join(wanted)}", "give it one of them, or leave it out")
    made = {column: (media[column]() if column in media else text_of(sample.fields[column])) for column in wanted if column in sample.fields}
    return {column: made.get(column) for column in wanted}


def text_of(value: Any) -> str:
    """Of a column that may hold several texts, the first."""
    return str(value[0] if isinstance(value, list) else value)
