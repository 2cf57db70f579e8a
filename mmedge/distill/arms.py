"""The rows of a report: the training that was asked for, what needs none, and the same without one of its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmedge.distill.report import TRAINED, Run
from mmedge.distill.samples import Parts
from mmedge.distill.subject import Learner, Report, Subject
from mmedge.distill.training import Plan, train
from mmedge.nets.objectives.weighted import taught
from mmedge.training import Control, Objective, Training

Kind = Literal["trained", "teacher", "control", "ablation", "seed"]
Planned = Callable[[Training, int, str], Plan]
"""(training, samples, arm) -> how long and how fast."""


@dataclass(frozen=True, eq=False)
class Bench:
    """What all rows have in common."""

    subject: Subject
    its: Parts
    training: Training
    folder: Path
    """Below it each training keeps where it stands."""
    accelerator: Any
    planned: Planned
    report: Report

    def run(self, name: str, kind: Kind, training: Training, note: str = "", *, shuffled: bool = False) -> tuple[Run, Learner]:
        """Train, and test."""
        self.report(f"training: {name}")
        learner = self.subject.learner(training, shuffled=shuffled)
        plan = self.planned(training, len(learner.keys), name)
        state = train(learner, plan, self.folder / name.replace(" ", "-"), self.accelerator, self.report)
        best = state.best if plan.early_stop else None
        metrics = {one.name: one for one in learner.score(self.its.test)}
        trained = sum(one.numel() for one in learner.module.parameters() if one.requires_grad)
        return Run(name, kind, metrics, learner.parameters, trained, state, best, note), learner


def runs(bench: Bench, seeds: int, ablate: bool) -> tuple[list[Run], Learner]:
    """Every row, the trained one first, then what it learns from and what it is without; and the trained model."""
    first, learner = bench.run(TRAINED, "trained", bench.training)
    made, training = [first], bench.training
    if training.teacher or training.guard or "teacher" in training.controls:
        made.append(_control(bench, "teacher"))
        if training.teacher and any(map(taught, training.objectives)):
            own = tuple(one for one in training.objectives if not taught(one)) or (Objective(kind="contrastive"),)
            steps = first.state.step if first.state else training.steps  # an epoch of its own may be shorter
            changed = training.model_copy(update={"objectives": own, "steps": steps, "epochs": None})
            made.append(bench.run("without distillation", "control", changed, "the same student, as long, by its pairs alone")[0])
    made += [_control(bench, name) for name in training.controls if name != "teacher"]
    made += _ablations(bench) if ablate else []
    for seed in range(bench.training.seed + 1, bench.training.seed + seeds):
        made.append(bench.run(f"seed {seed}", "seed", bench.training.model_copy(update={"seed": seed}))[0])
    return made, learner


def _control(bench: Bench, name: Control) -> Run:
    """One row that the trained model has to beat."""
    if name == "shuffled_captions":
        return bench.run("shuffled captions", "control", bench.training, "as trained, with the captions of other pictures", shuffled=True)[0]
    found = bench.subject.control(name)
    kind: Kind = "teacher" if name == "teacher" else "control"
    return Run(name.replace("_", " "), kind, {one.name: one for one in found.metrics}, found.parameters, note=found.note)


def _ablations(bench: Bench) -> Iterator[Run]:
    training = bench.training
    changes = dict(bench.subject.ablations(training))
    if training.pseudo_pairs:
        changes["without pseudo-pairs"] = {"pseudo_pairs": 0.0}
    if training.views > 1:
        changes["without views"] = {"views": 1}
    if len(training.objectives) > 1:
        changes |= {f"without {one.kind}": {"objectives": tuple(other for other in training.objectives if other is not one)} for one in training.objectives}
    for name, change in changes.items():
        yield bench.run(name, "ablation", training.model_copy(update=change))[0]
