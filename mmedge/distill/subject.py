"""What a recipe trains: each kind of ``Network`` has a ``Subject`` of its own, and everything else of ``mmedge distill`` is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mmedge.distill.samples import Numbers, Parts, Samples
from mmedge.distill.training import Work
from mmedge.evaluate.data import Data
from mmedge.evaluate.metrics.bootstrap import Metric
from mmedge.training import Control, Training

Report = Callable[[str], None]


class Learner(Work, Protocol):
    """One training's network, on its samples."""

    @property
    def parameters(self) -> int:
        """Of the whole model."""
        ...

    def score(self, numbers: Numbers) -> list[Metric]:
        """What it is worth on these samples."""
        ...

    def save(self, folder: Path) -> None:
        """As a checkpoint that ``mmedge export`` takes."""
        ...


@dataclass(frozen=True, eq=False)
class Untrained:
    """A row of the report for which nothing is trained."""

    metrics: list[Metric]
    parameters: int
    note: str
    """What it is."""


class Subject(Protocol):
    """A kind of network with the data that it reads: made once, and shared by all rows of a report."""

    @property
    def judged(self) -> str:
        """The metric that rows are compared by."""
        ...

    def learner(self, training: Training, *, shuffled: bool = False) -> Learner:
        """Ready to be trained from its beginning, which follows from the seed. ``shuffled``: every sample with what is said of another."""
        ...

    def control(self, name: Control) -> Untrained:
        """Raises MmedgeError: this kind has no such control."""
        ...

    def ablations(self, training: Training) -> Mapping[str, dict[str, Any]]:
        """Name of a row -> what changes in the recipe: each part of it that can be left out."""
        ...


@dataclass(frozen=True, eq=False)
class Given:
    """What a subject is made of."""

    training: Training
    folder: Path
    """The files that the network begins with."""
    weights: str
    """sha256 of them, and of the teacher's."""
    samples: Samples
    its: Parts
    report: Report
    teacher: Path | None = None
    """The folder of its checkpoint."""
    unlabelled: Data | None = None
    """Pictures that nothing is said of."""


def subject(given: Given) -> Subject:
    """Of the kind that the recipe names. Raises MmedgeError: the files, or the data, do not make one."""
    from mmedge.distill.dual_encoder import Pairs
    from mmedge.distill.fusion import Fusions
    from mmedge.distill.lessons import Lessons
    from mmedge.distill.speech import Speech

    trains_encoders = given.training.teacher or given.training.tune == "all"
    kinds: dict[str, Callable[[Given], Subject]] = {"dual_encoder": Lessons if trains_encoders else Pairs, "fusion": Fusions, "speech": Speech}
    return kinds[given.training.network.kind](given)
