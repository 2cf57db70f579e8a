"""What came of a training: the trained model beside everything that it has to be better than."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from mmedge.distill.record import Looked, State, Told
from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.evaluate.evaluation import Figure
from mmedge.evaluate.metrics.bootstrap import Metric, paired
from mmedge.evaluate.statistics import Statistics
from mmedge.profile.machine import Machine, describe

TRAINED = "trained"
"""The row of what the recipe asks for."""
COLUMNS = 3
"""Of other metrics beside the one that models are compared by."""
POINTS = 200
"""Of a curve that are kept at most."""


class Curve(Document):
    """How a training went."""

    steps: int
    loss: tuple[Told, ...]
    """At most 200 of its steps, evenly spread, and the last."""
    validation: tuple[Looked, ...] = ()
    best: int | None = None
    """The step whose weights were taken; null: the last one's."""


class Arm(Document):
    """One row of the table."""

    name: str
    kind: Literal["trained", "teacher", "control", "ablation", "seed"]
    note: str = ""
    """What it is."""
    figures: tuple[Figure, ...]
    """Of the samples that are tested on, each with its 95 % interval over them."""
    parameters: int
    """Of the whole model."""
    trained_parameters: int
    """0: nothing was trained."""
    size_mb: float
    """Of its weights in 32 bits."""
    curve: Curve | None = None


class Difference(Document):
    """The trained model less another, on the same samples."""

    to: str
    metric: str
    value: float
    low: float
    high: float
    """The 95 % interval of the paired bootstrap over the samples."""
    n: int

    @property
    def real(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


class Seeds(Document):
    """The same training from several seeds."""

    values: tuple[float, ...]
    mean: float
    deviation: float
    """Of the sample (ddof 1), between seeds: nothing is said of other data."""


class Distillation(Document):
    """Schema ``mmedge.distillation/1``, what ``mmedge distill --json`` prints and writes to ``ROLE.report.json``."""

    schema_: Literal["mmedge.distillation/1"] = Field(default="mmedge.distillation/1", alias="schema")
    recipe: str
    role: str
    created: str
    """UTC, ISO 8601, when it ended."""
    data: str
    fingerprint: str
    """sha256 of the samples: keys, columns, names and contents of files."""
    fold: str
    """The split that was tested on."""
    train: int
    """Samples that were trained on."""
    validation: int
    test: int
    judged: str
    """The metric that models are compared by."""
    arms: tuple[Arm, ...]
    """The trained model first."""
    differences: tuple[Difference, ...]
    seeds: Seeds | None = None
    statistics: tuple[tuple[tuple[float | None, ...], ...], ...] = ()
    """Matrices [units, statistics] of the metric that models are compared by, which figures name by number: reports of several folds are pooled by them."""
    seconds: float
    machine: Machine
    packages: dict[str, str]

    def figure(self, arm: str, metric: str) -> Figure:
        """One figure. Raises MmedgeError: there is none."""
        for one in self.arms:
            for found in one.figures:
                if (one.name, found.name) == (arm, metric):
                    return found
        raise MmedgeError(f"the report has no {metric} of {arm}", f"it has: {', '.join(one.name for one in self.arms)}")


@dataclass(frozen=True, eq=False)
class Run:
    """An arm while it is in memory: what is compared unit by unit."""

    name: str
    kind: Literal["trained", "teacher", "control", "ablation", "seed"]
    metrics: Mapping[str, Metric]
    parameters: int
    trained: int = 0
    state: State | None = None
    best: int | None = None
    note: str = ""


def arms(runs: Sequence[Run], judged: str, kept: Statistics) -> tuple[Arm, ...]:
    """As they are written down. ``kept`` takes what each unit adds to the metric that they are compared by."""
    return tuple(
        Arm(
            name=run.name,
            kind=run.kind,
            note=run.note,
            figures=tuple(_figure(metric, kept if metric.name == judged else None) for metric in run.metrics.values()),
            parameters=run.parameters,
            trained_parameters=run.trained,
            size_mb=round(run.parameters * 4 / 1e6, 3),
            curve=_curve(run),
        )
        for run in runs
    )


def _figure(metric: Metric, kept: Statistics | None) -> Figure:
    found = (kept or Statistics()).figures([metric])[0]
    return found if kept else found.model_copy(update={"rows": None})


def differences(runs: Sequence[Run], judged: str) -> tuple[Difference, ...]:
    """Of the first less every other one that was tested on the same samples."""
    first, made = runs[0].metrics[judged], []
    for run in runs[1:]:
        other = run.metrics.get(judged)
        if other is not None and other.samples is not None and first.samples is not None and run.kind != "seed":
            found = paired(first, other)
            made.append(Difference(to=run.name, metric=judged, value=found.value, low=found.low, high=found.high, n=found.n))
    return tuple(made)


def _curve(run: Run) -> Curve | None:
    if run.state is None:
        return None
    losses = run.state.losses
    every = max(1, -(-len(losses) // POINTS))
    kept = [one for at, one in enumerate(losses) if at % every == 0 or at == len(losses) - 1]
    return Curve(steps=run.state.step, loss=tuple(kept), validation=run.state.looked, best=run.best)


def shown(made: Distillation) -> list[str]:
    """The metrics beside the one that models are compared by that a table has room for."""
    alike = {figure.higher_is_better for figure in made.arms[0].figures if figure.name == made.judged}
    there = [figure.name for figure in made.arms[0].figures if figure.value is not None and figure.name != made.judged and figure.higher_is_better in alike]
    return sorted(there, key=lambda name: not name.endswith(made.judged))[:COLUMNS]


def table(made: Distillation) -> str:
    """For people."""
    others = shown(made)
    wide = max(len(arm.name) for arm in made.arms)
    lines = [f"{made.role} of {made.recipe}: {made.train} samples to train on, {made.test} to test on ({made.fold}), data {made.data}", ""]
    lines.append(f"{'':{wide}}  {made.judged:25}" + "".join(f"{name[-20:]:>22}" for name in others) + f"{'parameters':>14}{'trained':>12}")
    for arm in made.arms:
        of = {figure.name: figure for figure in arm.figures}
        rest = "".join(f"{_number(of[name].value) if name in of else '-':>22}" for name in others)
        lines.append(f"{arm.name:{wide}}  {_interval(of.get(made.judged)):25}{rest}{_millions(arm.parameters):>14}{_millions(arm.trained_parameters):>12}")
    lines += ["", *(_sentence(one) for one in made.differences)]
    if made.seeds:
        lines.append(f"{len(made.seeds.values)} seeds: {made.judged} {made.seeds.mean:.3f}, deviation {made.seeds.deviation:.3f}")
    return "\n".join([*lines, "", f"{made.seconds:.0f} s; data: sha256 {made.fingerprint[:12]}", describe(made.machine)])


def _sentence(one: Difference) -> str:
    how = f"{abs(one.value):.3f} {'above' if one.value > 0 else 'below'} {one.to}" if one.real else f"{one.value:+.3f} to {one.to}: no real difference"
    return f"{TRAINED}: {one.metric} {how} (95 % interval {one.low:+.3f} to {one.high:+.3f}, paired over {one.n} samples)"


def _interval(one: Figure | None) -> str:
    return "-" if one is None or one.value is None else f"{_number(one.value)}  {_number(one.low)} .. {_number(one.high)}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"
