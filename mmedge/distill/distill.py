"""Train a recipe's model on data, and say what came of it beside what needs no training."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mmedge import cache
from mmedge.build import load
from mmedge.distill.arms import Bench, runs
from mmedge.distill.curves import curves
from mmedge.distill.guard import hold
from mmedge.distill.report import Distillation, Run, Seeds, arms, differences, table
from mmedge.distill.samples import Samples, parts, read
from mmedge.distill.subject import Given, Report, subject
from mmedge.distill.teaching import teacher_of
from mmedge.distill.training import Plan, processes
from mmedge.documents import disk_error, dump_json, replace_file
from mmedge.errors import GateFailed, MmedgeError
from mmedge.evaluate.data import Data
from mmedge.evaluate.statistics import Statistics
from mmedge.need import have
from mmedge.optimize.steps import versions
from mmedge.profile.machine import machine
from mmedge.recipe import Model, Recipe
from mmedge.training import Guard, Training

EPOCHS = 30.0
"""Where the recipe says nothing."""


def distill(
    recipe: Recipe,
    data: Data,
    out: Path,
    *,
    role: str | None = None,
    fold: str | None = None,
    seeds: int = 1,
    ablate: bool = False,
    unlabelled: Data | None = None,
    offline: bool = False,
    report: Report,
) -> Distillation:
    """Train one model of a recipe, and write ``out/ROLE``, a checkpoint that ``mmedge export`` takes like any other, and
    ``out/ROLE.report.json``.

    What was done already is not done again: an interrupted training goes on where it was.

    Args:
        role: which model; needed where several are to be trained, unless all others learn from one another.
        fold: which of the recipe's folds is tested on; the first otherwise.
        seeds: so many trainings, each from the next seed; the first one's model is kept.
        ablate: also train without each part of the recipe in turn.
        unlabelled: pictures that nothing is said of, for a student of pictures: it learns what its teacher makes of them.

    Raises:
        MmedgeError: the recipe trains nothing, the data do not fit, a loss is no number, or the disk refuses.
    """
    started_s = time.perf_counter()
    role, model, training = _chosen(recipe, role)
    samples = read(data, training)
    its = parts(samples, training, fold)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(out, error) from error
    accelerator = processes(training.precision)
    report = report if accelerator.is_main_process else lambda line: None
    teacher = teacher_of(recipe, role, training, data.name, out, its, offline=offline, report=report) if training.teacher else None
    bare = teacher is not None and not (model.files or model.folder or model.file)
    folder = teacher if teacher is not None and bare else load.checkpoint(model, offline=offline, trace=report)
    weights = " ".join(cache.tree_sha256(cache.index_of(one)) for one in (folder, teacher) if one is not None)
    with accelerator.main_process_first():
        what = subject(Given(training, folder, weights, samples, its, report, teacher, unlabelled))
    told = {"weights": weights, "data": samples.fingerprint, "fold": its.fold, "unlabelled": unlabelled.fingerprint() if unlabelled is not None else ""}

    def planned(one: Training, count: int, name: str) -> Plan:
        return plan_of(one, count, {"arm": name, **told})

    bench = Bench(what, its, training, out / f"{role}.training", accelerator, planned, report)
    made, trained = runs(bench, seeds, ablate)
    document = _document(bench, samples, made, {"recipe": recipe.name, "role": role, "data": data.name, "seconds": round(time.perf_counter() - started_s, 1)})
    if accelerator.is_main_process:
        if training.guard:
            _hold(made, document, training.guard, out / f"{role}.refused.json", report)
        trained.save(out / role)
        replace_file(out / f"{role}.report.json", dump_json(document).encode())
        if have("altair") and have("vl_convert"):
            replace_file(out / f"{role}.curves.svg", curves(document).encode())
    return document


def _hold(made: Sequence[Run], document: Distillation, guard: Guard, path: Path, report: Report) -> None:
    """Raises GateFailed: the guard is not held. What was found is told, and written to ``path``."""
    try:
        hold(made, document.judged, guard)
    except GateFailed:
        report(table(document))
        replace_file(path, dump_json(document).encode())
        raise
    path.unlink(missing_ok=True)


def _document(bench: Bench, samples: Samples, made: Sequence[Run], named: dict[str, Any]) -> Distillation:
    kept, guard = Statistics(), bench.training.guard
    judged = (bench.subject.judged, *([f"{guard.split}_{bench.subject.judged}"] if guard else []))
    return Distillation(
        **named,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        fingerprint=samples.fingerprint,
        fold=bench.its.fold,
        train=len(bench.its.train),
        validation=len(bench.its.validation),
        test=len(bench.its.test),
        judged=bench.subject.judged,
        arms=arms(made, bench.subject.judged, kept),
        differences=tuple(one for name in judged for one in differences(made, name)),
        seeds=_seeds(made, bench.subject.judged),
        statistics=kept.matrices(),
        machine=machine(),
        packages=versions("torch", "transformers", "accelerate", "numpy", "pillow"),
    )


def _seeds(made: Sequence[Run], judged: str) -> Seeds | None:
    values = [found.estimate.value for run in made if run.kind in ("trained", "seed") and (found := run.metrics[judged]).estimate]
    return Seeds(values=tuple(values), mean=fmean(values), deviation=stdev(values)) if len(values) > 1 else None


def plan_of(training: Training, count: int, depends: dict[str, Any]) -> Plan:
    """How long and how fast, over ``count`` samples."""
    batch = min(training.batch, count - count % training.accumulate)
    steps = training.steps or max(1, math.ceil((training.epochs or EPOCHS) * count / batch))
    told = {"training": training.model_dump(mode="json", exclude={"controls", "guard"}), **depends, **versions("torch")}
    return Plan(
        key=hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest(),
        steps=steps,
        batch=batch,
        accumulate=training.accumulate,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        warmup=training.warmup,
        seed=training.seed,
        evaluations=training.evaluations,
        early_stop=training.early_stop,
    )


def _chosen(recipe: Recipe, role: str | None) -> tuple[str, Model, Training]:
    trained = {name: model for name, model in recipe.models.items() if model.train is not None}
    if not trained:
        raise MmedgeError(f"the recipe {recipe.name} trains nothing", "add [models.ROLE.train] to it; to make a bundle: mmedge export")
    if role is not None and role not in trained:
        raise MmedgeError(f"the recipe {recipe.name} trains no {role}", f"use one of: {', '.join(trained)}")
    taught = {name for name, model in trained.items() if model.train is not None and model.train.teacher}
    role = role or (next(iter(trained.keys() - taught)) if len(trained) - len(taught) == 1 else None)
    if role is None and len(trained) > 1:
        raise MmedgeError(f"the recipe {recipe.name} trains {' and '.join(trained)}", f"name one: --role {next(iter(trained))}")
    name = role or next(iter(trained))
    training = trained[name].train
    assert training is not None
    return name, trained[name], training
