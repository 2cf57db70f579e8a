"""Quantize a bundle's model for a target, on the user's data: every candidate judged, timed and weighed, and the bundle changed once, at the end.

For each graph: ``survivors`` (candidates that hold the gate), ``timing``, ``choice``. Then the model as a whole with what was chosen, which must hold the gate
too; where it does not, the graph that loses most takes its next candidate.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.evaluate.choosing import choose
from mmedge.evaluate.data import Data
from mmedge.evaluate.eval import EXTENT, SETTING
from mmedge.evaluate.golden import Golden
from mmedge.evaluate.tasks import Setting
from mmedge.manifest import Quantized
from mmedge.optimize import judging
from mmedge.optimize.calibration import SAMPLES
from mmedge.optimize.choice import choice, unmeasured
from mmedge.optimize.feeding import calibrated
from mmedge.optimize.opening import runs_here
from mmedge.optimize.quantized import Quantization
from mmedge.optimize.stored import keep_all
from mmedge.optimize.survivors import Sifted, Survivor, survivors
from mmedge.optimize.timing import Bench, measured
from mmedge.optimize.together import together
from mmedge.optimize.whole import hold
from mmedge.optimize.work import Work, begin
from mmedge.profile.machine import describe, machine
from mmedge.rated import Budget, Choice
from mmedge.target import Goal, Target

Report = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What a model is judged by, where that is not left to the model and the data."""

    role: str | None = None
    task: str | None = None
    setting: Setting = SETTING
    metric: str | None = None
    samples: int = SAMPLES
    max_unreadable: float = EXTENT.max_unreadable


@dataclass(frozen=True)
class Wanted:
    """What is chosen by."""

    goal: Goal | None = None
    """None: the target's."""
    budget: Budget = field(default_factory=Budget)
    slim: bool = False
    """Of the candidates that passed, the bundle holds those alone that were chosen."""


def quantize(path: Path, target: Target, data: Data, asked: Asked, wanted: Wanted, report: Report) -> Quantization:
    """Quantize one model, and commit.

    Raises:
        MmedgeError: the bundle is not compiled for the target, no model or several fit the data, too many samples are unreadable, nothing keeps the budget.
        GateFailed: the model as a whole does not hold its gate even in fp32. In both cases the bundle is as it was.
    """
    with Bundle.writing(path) as bundle, _tidied(bundle):
        if target.name not in bundle.manifest.engines:
            raise MmedgeError(f"{path} is not compiled for {target.name}", f"mmedge compile {path} --target {target.name}")
        with begin(bundle, target, data, **vars(asked), report=report) as work:
            found = _quantized(work, wanted)
        bundle.commit()
    untouched = {role: _why_not(bundle, role, data) or f"mmedge quantize with --role {role}" for role in bundle.manifest.models if role != work.role}
    return Quantization(bundle=bundle.manifest.name, target=target.name, models={work.role: _told(found)}, untouched=untouched)


def quantize_all(path: Path, target: Target, data: Data, report: Report) -> Quantization:
    """Quantize every model that the data judge, one after another, each committed when it is done. Raises as ``quantize``."""
    bundle = Bundle.open(path)
    untouched = {role: why for role in bundle.manifest.models if (why := _why_not(bundle, role, data))}
    if len(untouched) == len(bundle.manifest.models):
        choose(bundle.manifest, data, None, None, SETTING, without_answers=True)  # says which columns there should be
    models: dict[str, Quantized] = {}
    for role in bundle.manifest.models:
        if role not in untouched:
            report(f"{role}: quantizing for {target.name}")
            models |= quantize(path, target, data, Asked(role=role), Wanted(), report).models
    return Quantization(bundle=bundle.manifest.name, target=target.name, models=models, untouched=untouched)


@contextlib.contextmanager
def _tidied(bundle: Bundle) -> Iterator[None]:
    """Afterwards no file is left that no manifest names but those that were there before: none of a choice that was replaced, nor of one that failed."""
    before = set(bundle.orphans())
    try:
        yield
    except BaseException:
        bundle.manifest = Bundle.open(bundle.path).manifest
        raise
    finally:
        for left in set(bundle.orphans()) - before:
            left.unlink(missing_ok=True)


def _why_not(bundle: Bundle, role: str, data: Data) -> str:
    """Why the data do not judge a model; empty where they do."""
    try:
        choose(bundle.manifest, data, role, None, SETTING, without_answers=True)
    except MmedgeError:
        return f"{data.name} has nothing that it takes"
    return ""


def _told(found: Quantized) -> Quantized:
    return found.model_copy(update={"golden": None, "cases": ()})


def _quantized(work: Work, wanted: Wanted) -> Quantized:
    """Everything but the commit: the bundle's draft then holds what was found."""
    goal = wanted.goal or work.target.goal
    sifted = {key: survivors(work, key) for key in work.keys.values()}
    if _measurable(work, sifted):
        alone = {key: _choice(work, key, one, goal, wanted.budget) for key, one in sifted.items()}
        choices = together(work.role, alone, goal, wanted.budget, judging.metric(work, {}).higher_is_better)
    else:
        choices = {key: _unmeasured(work, key, one, wanted) for key, one in sifted.items()}
    whole = hold(work, choices, {key: one.survivors for key, one in sifted.items()}, goal, wanted.budget)
    found = Quantized(
        task=work.task.name,
        metric=work.gate.metric,
        higher_is_better=whole.metric.higher_is_better,
        data=work.data.name,
        fingerprint=work.fingerprint,
        samples=calibrated(work).samples,
        held_out=work.ranging.held_out,
        setting={name: str(getattr(work.setting, name)) for name in work.task.depends},
        fp32=judging.interval(judging.metric(work, {})),
        whole=judging.interval(whole.metric),
        loss=judging.loss(whole.judged),
        goal=goal,
        budget=wanted.budget,
        machine=describe(machine()),
        graphs=whole.choices,
        warnings=tuple(work.warnings),
    )
    return keep_all(work, found, whole, sifted, slim=wanted.slim)


def _measurable(work: Work, sifted: dict[str, Sifted]) -> bool:
    """Whether this machine is one that the target stands for, with all that its candidates run on."""
    backends = {one.backend for found in sifted.values() for one in found.survivors}
    return (work.target.build_on != "device" or work.target.is_here()) and all(runs_here(backend, work.target) for backend in backends)


def _choice(work: Work, key: str, sifted: Sifted, goal: Goal, budget: Budget) -> Choice:
    feeds, _ = Golden(work.bundle, work.role).graph(key)
    name = f"{work.role}/{key}"
    rated = measured([_bound(work, key, one) for one in sifted.survivors], Bench(work.target, feeds, lambda line: work.report(f"{name}: {line}")))
    try:
        found = choice([*rated, *sifted.rejected], goal, budget, judging.metric(work, {}).higher_is_better)
    except MmedgeError as error:
        raise MmedgeError(f"{name}: {error.what}", error.fix) from error
    work.report(f"{name}: {found.chosen}, {found.why}")
    return found


def _unmeasured(work: Work, key: str, sifted: Sifted, wanted: Wanted) -> Choice:
    there = f"mmedge compile {work.bundle.path.name} --target {work.target.name} --rechoose"
    if wanted.slim:
        raise MmedgeError(f"nothing is chosen for {work.target.name} on this machine, so nothing else can be left out", f"leave out --slim; there: {there}")
    if wanted.budget != Budget():
        raise MmedgeError(
            f"nothing is timed or chosen for {work.target.name} on this machine, so no budget can be kept", f"leave the budget out; there: {there}"
        )
    placed = work.bundle.manifest.engines[work.target.name][f"{work.role}/{key}"]
    rated = [_bound(work, key, one).rated for one in sifted.survivors]
    return unmeasured([*rated, *sifted.rejected], f"{placed.backend} {placed.precision}", f"{work.target.name} is not this machine; there: {there}")


def _bound(work: Work, key: str, one: Survivor) -> Survivor:
    """With the name of the file that it opens."""
    graph = one.candidate.graph.sha256
    made_of = graph if graph != work.bundle.manifest.models[work.role].graphs[key].file.sha256 else None
    return Survivor(one.rated.model_copy(update={"made_of": made_of}), one.backend, one.candidate, one.made)
