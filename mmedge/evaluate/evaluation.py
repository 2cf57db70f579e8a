"""How good a model is at its task, on one target and one data set: a document that says what was measured and on what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.evaluate.columns import no_column
from mmedge.profile.machine import Machine


class Figure(Document):
    """A metric's value with its 95 % interval over ``n`` units; null, with the reason in ``why``, where the data do not give it."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    higher_is_better: bool = True
    why: str = ""
    how: str = ""
    """What it depends on beside the data: a tokenizer, a normalizer, an averaging rule."""
    note: str = ""
    """Why its interval says less than it seems to."""
    rows: int | None = None
    """Which of ``statistics`` it comes from; null where those are not kept."""


class PerClass(Document):
    """One class: its figures, how many samples are of it, and how many were taken for it."""

    label: str
    support: int
    predicted: int
    figures: tuple[Figure, ...]


class Condition(Document):
    """The same metrics with one input spoiled."""

    name: str
    """Such as ``image noisy``."""
    figures: tuple[Figure, ...]


class Used(Document):
    """The samples that were used, and those that were not."""

    name: str
    split: str | None
    limit: int | None
    seed: int
    fingerprint: str
    """sha256 of the selection: keys, columns, names and contents of files."""
    selected: int
    lacking: int
    """Left out: they have no value in a column that the task needs."""
    unreadable: int
    unreadable_said: tuple[str, ...] = ()
    """What was wrong with the first of those."""
    inputs: tuple[str, ...]
    wants: str


class Said(Document):
    """The answer to one sample."""

    key: str
    said: str
    expected: str | tuple[str, ...]


class Evaluation(Document):
    """Schema ``mmedge.evaluation/1``, what ``mmedge eval --json`` prints."""

    schema_: Literal["mmedge.evaluation/1"] = Field(default="mmedge.evaluation/1", alias="schema")
    bundle: str
    created: str
    """UTC, ISO 8601, when the evaluation ended."""
    target: str
    role: str
    family: str
    task: str
    setting: dict[str, str]
    """What the figures depend on beside model and data: the prompt of classes, the normalizer of transcripts."""
    placements: dict[str, str]
    """Graph -> backend and precision."""
    graphs: dict[str, str]
    """Graph -> sha256 of the engine or ONNX file that ran."""
    data: Used
    figures: tuple[Figure, ...]
    classes: tuple[PerClass, ...] = ()
    agreement: tuple[Figure, ...] = ()
    """With the same graphs in fp32 on onnxruntime; empty where that was not asked for."""
    robustness: tuple[Condition, ...] = ()
    seconds: float
    machine: Machine
    samples: tuple[Said, ...]
    """In the order of the data."""
    statistics: tuple[tuple[tuple[float | None, ...], ...], ...] = ()
    """Matrices [units, statistics]: what each unit adds to a metric, so that two evaluations of equal data can be compared unit by unit."""

    def hold(self, name: str | None) -> None:
        """Whether a metric that was asked for has a value. Raises MmedgeError as ``figure``."""
        if name is not None:
            self.figure(name)

    def figure(self, name: str) -> Figure:
        """One figure that has a value.

        Raises:
            MmedgeError: there is no such metric, or the data do not give it.
        """
        found = {one.name: one for one in self.figures}
        if name not in found:
            raise no_column(name, list(found), f"{self.task} has no metric")
        if found[name].value is None:
            raise MmedgeError(f"{self.data.name} does not give {name}: {found[name].why}", f"use another metric, such as {_first(self.figures)}")
        return found[name]


def _first(figures: Sequence[Figure]) -> str:
    return next((one.name for one in figures if one.value is not None), "none")
