"""The rows of a report: the training that was asked for, what needs none, and the same without one of its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmedge.distill.frozen import Features, Frozen, score
from mmedge.distill.networks import Built
from mmedge.distill.report import TRAINED, Run
from mmedge.distill.samples import Parts, Samples
from mmedge.distill.training import Plan, train
from mmedge.errors import MmedgeError
from mmedge.training import Control, Training

Report = Callable[[str], None]
Kind = Literal["trained", "control", "ablation", "seed"]
Planned = Callable[[Training, int, str], Plan]
"""(training, samples, arm) -> how long and how fast."""


@dataclass(frozen=True, eq=False)
class Bench:
    """What all rows have in common."""

    built: Built
    found: Features
    samples: Samples
    its: Parts
    training: Training
    folder: Path
    """Below it each training keeps where it stands."""
    accelerator: Any
    planned: Planned
    report: Report

    def run(self, name: str, kind: Kind, training: Training, note: str = "", *, shuffled: bool = False) -> tuple[Run, Built]:
        """Train, and test."""
        self.report(f"training: {name}")
        built = self.built.anew(training)
        if training.network.conse:
            built.model.set_classes(self.found.classes)
        work = Frozen(built, self.found, self.samples, self.its, training, shuffled=shuffled)
        plan = self.planned(training, len(work.keys), name)
        state = train(work, plan, self.folder / name.replace(" ", "-"), self.accelerator, self.report)
        best = state.best if plan.early_stop else None
        metrics = {one.name: one for one in work.score(self.its.test)}
        return Run(name, kind, metrics, _size(built), sum(one.numel() for one in work.module.parameters()), state, best, note), built


def runs(bench: Bench, seeds: int, ablate: bool) -> tuple[list[Run], Built]:
    """Every row, the trained one first; and the trained model."""
    hold_controls(bench.training)
    first, built = bench.run(TRAINED, "trained", bench.training)
    made = [first, *(control(bench, name) for name in bench.training.controls)]
    made += _ablations(bench) if ablate else []
    for seed in range(bench.training.seed + 1, bench.training.seed + seeds):
        made.append(bench.run(f"seed {seed}", "seed", bench.training.model_copy(update={"seed": seed}))[0])
    return made, built


def hold_controls(training: Training) -> None:
    """Raises MmedgeError: a control wants what the network lacks."""
    if "conse" in training.controls and not training.network.conse:
        raise MmedgeError("the control conse wants a network with ConSE", "set conse in [models.ROLE.train.network], or drop this control")


def control(bench: Bench, name: Control) -> Run:
    """One row that the trained model has to beat."""
    if name == "shuffled_captions":
        return bench.run("shuffled captions", "control", bench.training, "as trained, with the captions of other pictures", shuffled=True)[0]
    built = bench.built.anew(bench.training)
    built.model.set_classes(bench.found.classes)
    metrics = score(built.model, bench.found, bench.samples, bench.its.test, begin=bench.training.network.width)
    return Run("conse", "control", {one.name: one for one in metrics}, _size(built), note="untrained: a picture's likeliest classes as sentences")


def _ablations(bench: Bench) -> Iterator[Run]:
    training = bench.training
    changes: list[tuple[str, dict[str, Any]]] = []
    if training.network.conse:
        changes.append(("without conse", {"network": training.network.model_copy(update={"conse": 0.0})}))
    if training.pseudo_pairs:
        changes.append(("without pseudo-pairs", {"pseudo_pairs": 0.0}))
    if training.views > 1:
        changes.append(("without views", {"views": 1}))
    if len(training.objectives) > 1:
        changes += [(f"without {one.kind}", {"objectives": _others(training, one)}) for one in training.objectives]
    for name, change in changes:
        yield bench.run(name, "ablation", training.model_copy(update=change))[0]


def _others(training: Training, left_out: Any) -> Sequence[Any]:
    return tuple(one for one in training.objectives if one is not left_out)


def _size(built: Built) -> int:
    return sum(one.numel() for one in built.model.parameters())
