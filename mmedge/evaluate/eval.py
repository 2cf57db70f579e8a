"""Evaluate a bundle's model on data: one sample after another, as it would be used, and every figure with its interval."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.evaluate.choosing import choose
from mmedge.evaluate.data import Data, Tally, Unreadable
from mmedge.evaluate.evaluation import Condition, Evaluation, Said, Used
from mmedge.evaluate.metrics.agreement import cosine, rank_correlation, top1_agreement
from mmedge.evaluate.metrics.bootstrap import Metric
from mmedge.evaluate.noise import Spoiled, conditions
from mmedge.evaluate.statistics import Statistics
from mmedge.evaluate.tasks import Answer, Ask, Scored, Setting, Task, decode
from mmedge.need import NotInstalled
from mmedge.optimize.calibration import in_fp32
from mmedge.profile.machine import machine
from mmedge.target import Target

Report = Callable[[str], None]
FP32 = "fp32"
EVERY_S = 10.0
"""Between two lines of progress."""


@dataclass(frozen=True)
class Extent:
    """How much is asked for."""

    agreement: bool = False
    """Also run every graph in fp32, and say how far the answers agree."""
    robustness: bool = False
    """Also with each input spoiled (``mmedge.evaluate.noise``): takes as long again for each way."""
    max_unreadable: float = 0.01
    """The share of samples that may be unreadable, 0 to 1."""


SETTING, EXTENT = Setting(), Extent()


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What was found: the document, and the metrics themselves for whoever compares two of them (``mmedge.evaluate.metrics.bootstrap.paired``)."""

    document: Evaluation
    metrics: Mapping[str, Metric]


@dataclass(eq=False)
class _Asked:
    """Answers of one session under one condition."""

    ask: Ask
    spoiled: Spoiled | None = None
    answers: list[Answer] = field(default_factory=list)

    def add(self, inputs: Mapping[str, Any], key: str) -> None:
        self.answers.append(self.ask(self.spoiled(inputs, key) if self.spoiled else inputs))


def evaluate(
    bundle: Bundle,
    target: Target,
    data: Data,
    role: str | None = None,
    task: str | None = None,
    setting: Setting = SETTING,
    extent: Extent = EXTENT,
    report: Report = lambda line: None,
) -> Evaluated:
    """Ask a model about every sample, and score its answers.

    Args:
        role: of the model; needed where several have a task that fits the data.
        task: by name; the first that fits otherwise.

    Raises:
        MmedgeError: nothing fits, too many samples are unreadable, none can be used, no metric has a value, or the bundle cannot run on the target.
    """
    role, chosen = choose(bundle.manifest, data, role, task, setting)
    if target.backends == ("null",):
        raise MmedgeError(f"{target.name} computes nothing: there is no answer to judge", "name a target with a runtime")
    data = usable(chosen, data)
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(bundle.session(role, target))
        ask = chosen.open(session)
        spoiled = conditions(chosen.inputs, chosen.optional) if extent.robustness else {}
        asked = {"": _Asked(ask), **{name: _Asked(ask, how) for name, how in spoiled.items()}}
        if extent.agreement:
            exact = stack.enter_context(bundle.session(role, target, opens=partial(in_fp32, bundle, role, target)))
            asked[FP32] = _Asked(chosen.open(exact))
        keys, references, tally = _go_through(chosen, data, [*asked.values()], extent.max_unreadable, report)
        scored = {name: chosen.score(exact if name == FP32 else session, one.answers, references) for name, one in asked.items()}
    whole = scored.pop("")
    if all(metric.estimate is None for metric in whole.metrics):
        raise MmedgeError(f"{data.name} gives no metric of {chosen.name}: {whole.metrics[0].why}", f"look at its column {chosen.wants}")
    agreed = _agreement((asked[""].answers, whole), (asked[FP32].answers, scored.pop(FP32))) if extent.agreement else []
    samples = tuple(Said(key=key, said=said, expected=_expected(one)) for key, said, one in zip(keys, whole.said, references))
    document = Evaluation(
        **_who(bundle, target, role, chosen, setting),
        data=_used(data, chosen, tally),
        **_figures(whole, agreed, scored),
        seconds=round(time.perf_counter() - started, 2),
        samples=samples,
    )
    return Evaluated(document, {metric.name: metric for metric in whole.metrics})


@dataclass(frozen=True, eq=False)
class Answered:
    """What one session alone answered: a candidate that a gate judges, or fp32."""

    answers: Sequence[Answer]
    scored: Scored
    tally: Tally


def answered(session: Any, task: Task, data: Data, max_unreadable: float = EXTENT.max_unreadable, report: Report = lambda line: None) -> Answered:
    """Ask one session about every sample. Raises MmedgeError as ``evaluate``."""
    asked = _Asked(task.open(session))
    _, references, tally = _go_through(task, usable(task, data), [asked], max_unreadable, report)
    return Answered(asked.answers, task.score(session, asked.answers, references), tally)


def usable(task: Task, data: Data) -> Data:
    """Those samples that have all that a task needs."""
    return data.having(column for column in (*task.inputs, task.wants) if column and column not in task.optional)


def _go_through(task: Task, data: Data, asked: Sequence[_Asked], max_unreadable: float, report: Report) -> tuple[list[str], list[Any], Tally]:
    """Ask about each sample; (keys, references, unreadable ones) of those that were answered."""
    tally = Tally(data.name, len(data), max_unreadable)
    keys: list[str] = []
    references: list[Any] = []
    said_s = time.perf_counter()
    for number, sample in enumerate(data, 1):
        try:
            inputs = decode(sample, task.inputs)
        except Unreadable as error:
            report(f"unreadable: {error.what}")
            tally.add(error)
            continue
        try:
            for one in asked:
                one.add(inputs, sample.key)
        except NotInstalled:
            raise
        except MmedgeError as error:
            raise MmedgeError(f"{sample.key}: {error.what}", error.fix) from error
        keys.append(sample.key)
        references.append(sample.fields.get(task.wants))
        if time.perf_counter() - said_s >= EVERY_S:
            said_s = time.perf_counter()
            report(f"{task.name}: {number} of {len(data)} samples")
    if not keys:
        lacking = " or ".join(filter(None, (*task.inputs, task.wants)))
        raise MmedgeError(f"no sample of {data.name} can be used: {data.lacking} have no {lacking}, {tally.count} are unreadable", "use other data")
    return keys, references, tally


def _agreement(ours: tuple[Sequence[Answer], Scored], fp32: tuple[Sequence[Answer], Scored]) -> list[Metric]:
    """Of the answers, and where there are any, of embeddings and of scores over the same candidates."""
    made = [top1_agreement(ours[1].said, fp32[1].said)]
    vectors = [[answer.vector for answer in answers if answer.vector is not None] for answers, _ in (ours, fp32)]
    if vectors[0]:
        made.append(cosine(np.stack(vectors[0]), np.stack(vectors[1])))
    if ours[1].scores is not None and fp32[1].scores is not None:
        made.append(rank_correlation(ours[1].scores, fp32[1].scores))
    return made


def _figures(whole: Scored, agreed: Sequence[Metric], spoiled: Mapping[str, Scored]) -> dict[str, Any]:
    statistics = Statistics()
    made: dict[str, Any] = {
        "figures": statistics.figures(whole.metrics),
        "classes": tuple(statistics.of_class(one) for one in whole.classes),
        "agreement": statistics.figures(agreed),
        "robustness": tuple(Condition(name=name, figures=statistics.figures(one.metrics)) for name, one in spoiled.items()),
    }
    return {**made, "statistics": statistics.matrices()}


def _who(bundle: Bundle, target: Target, role: str, task: Task, setting: Setting) -> dict[str, Any]:
    """What was evaluated, on what."""
    model = bundle.manifest.models[role]
    placed = {name: (key, bundle.placement(role, key, target)) for name, key in model.graphs_for(target).items()}
    return {
        "bundle": bundle.manifest.name,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "target": target.name,
        "role": role,
        "family": model.family,
        "task": task.name,
        "setting": {name: getattr(setting, name) for name in task.depends},
        "placements": {name: f"{one.backend} {one.precision}" for name, (_, one) in placed.items()},
        "graphs": {name: one.file.sha256 if one.file else one.made_of or model.graphs[key].file.sha256 for name, (key, one) in placed.items()},
        "machine": machine(),
    }


def _used(data: Data, task: Task, tally: Tally) -> Used:
    return Used(
        name=data.name,
        split=data.split,
        limit=data.limit,
        seed=data.seed,
        fingerprint=data.fingerprint(),
        selected=len(data),
        lacking=data.lacking,
        unreadable=tally.count,
        unreadable_said=tally.said,
        inputs=task.inputs,
        wants=task.wants,
    )


def _expected(reference: Any) -> str | tuple[str, ...]:
    return tuple(reference) if isinstance(reference, list) else str(reference)
