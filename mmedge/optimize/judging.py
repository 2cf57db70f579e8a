"""The task metric of a model some of whose graphs are candidates, each evaluation a step that is done once.

What an evaluation leaves behind is what each sample adds to every metric, so that another one can be compared with it sample by sample.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.documents import Document, dump_json, read_json
from mmedge.errors import MmedgeError
from mmedge.evaluate.data import Tally
from mmedge.evaluate.eval import Answered, answered
from mmedge.evaluate.metrics.agreement import cosine, rank_correlation, top1_agreement
from mmedge.evaluate.metrics.bootstrap import Draft, Estimate, Metric, Samples, Values, mean, measure
from mmedge.evaluate.metrics.reduces import reduce_of
from mmedge.optimize.calibration import in_fp32
from mmedge.optimize.gate import Judged, judge
from mmedge.optimize.opening import ON_CPU, identity, opened
from mmedge.optimize.steps import step, versions
from mmedge.optimize.work import Work
from mmedge.rated import Interval, Loss
from mmedge.runner import Candidate, Runner
from mmedge.spans import Watched, recording

Chosen = Mapping[str, tuple[str, Candidate]]
"""A graph's key -> (backend, candidate). Graphs that are not in it run in fp32 by onnxruntime on the CPU."""

WIDE = ("roc_auc", "spearman")
"""Metrics that are made of the scores of all candidates: kept only where they are what is judged by."""

ARRAYS = ("vectors", "beside", "scores")
EVALUATION, ROWS, ANSWERS = "evaluation.json", "rows.npz", "answers.npz"


@dataclass(frozen=True, eq=False)
class _Answers:
    """What agreement is measured on."""

    said: tuple[str, ...]
    arrays: Mapping[str, Values | None]
    """By the names of ``ARRAYS``: [samples, width] each."""

    @classmethod
    def of(cls, work: Work, found: Answered) -> _Answers:
        vectors = [answer.vector for answer in found.answers if answer.vector is not None]
        scores = found.scored.scores if work.gate.metric == "spearman" else None
        return cls(tuple(found.scored.said), {"vectors": np.stack(vectors) if vectors else None, "beside": found.scored.beside, "scores": scores})


class Measured(Document):
    """A metric without its rows, which lie in a file of their own."""

    name: str
    why: str
    higher_is_better: bool
    how: str


class Evaluated(Document):
    """One evaluation."""

    metrics: tuple[Measured, ...]
    classes: int
    """That figures are averaged over."""
    ran: tuple[str, ...]
    """Keys of the graphs that the task ran."""
    unreadable: int
    unreadable_said: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    """fp32's answers in words."""


def metric(work: Work, chosen: Chosen) -> Metric:
    """The judged metric, with its rows; without a value where the answers of a candidate give none.

    Raises:
        MmedgeError: the data do not give it even in fp32, too many samples are unreadable, or a runtime refuses a candidate.
    """
    with _step(work, chosen) as folder:
        made = read_json(folder / EVALUATION, Evaluated, fix="")
        _hold_unreadable(work, made)
        return _read(folder, made, work.gate.metric)


def judged(work: Work, chosen: Chosen) -> Judged:
    """Against all in fp32, on the same samples. Raises MmedgeError as ``metric``, or where a candidate's answers give no value."""
    base = fp32(work)
    if not _other(work, chosen):
        return Judged("kept", base.name, Estimate(0.0, 0.0, 0.0, interval(base).n), work.gate.max_drop)
    return judge(base, metric(work, chosen), work.gate.max_drop)


def fp32(work: Work) -> Metric:
    """Of the model all in fp32. Raises MmedgeError as ``metric``."""
    found = metric(work, {})
    if found.estimate is None:
        named = f"{work.data.name} does not give {found.name}, which {work.role} is to be judged by: {found.why}"
        raise MmedgeError(named, f"name another metric: --metric {_given(work)}")
    return found


def ran(work: Work) -> tuple[str, ...]:
    """Keys of the graphs that the task runs: of no other can anything be said."""
    with _step(work, {}) as folder:
        return read_json(folder / EVALUATION, Evaluated, fix="").ran


def interval(found: Metric) -> Interval:
    """As a bundle remembers it. The metric has a value."""
    assert found.estimate is not None
    return Interval(value=found.estimate.value, low=found.estimate.low, high=found.estimate.high, n=found.estimate.n)


def loss(found: Judged) -> Loss:
    """As a bundle remembers it."""
    of = Interval(value=found.loss.value, low=found.loss.low, high=found.loss.high, n=found.loss.n)
    return Loss(metric=found.metric, found=of, allowed=found.allowed, word=found.word)


def _step(work: Work, chosen: Chosen) -> contextlib.AbstractContextManager[Path]:
    """The evaluation, done if it was not yet."""
    other = _other(work, chosen)
    placed = {key: _reference(work, key) for key in work.keys.values()} | {key: identity(*one, work.target) for key, one in other.items()}
    wide = work.gate.metric if work.gate.metric in WIDE else ""
    used = versions("onnxruntime", "numpy", "pillow", "tokenizers", "av", "jiwer", "whisper_normalizer")
    return step("judged", {**work.identity(), **work.uses, "placed": placed, "wide": wide, **used}, partial(_evaluate, work, other))


def _other(work: Work, chosen: Chosen) -> Chosen:
    """Without what is no other than the reference: onnxruntime's fp32 is among a target's candidates too."""
    return {key: one for key, one in chosen.items() if identity(*one, work.target) != _reference(work, key)}


def _reference(work: Work, key: str) -> dict[str, Any]:
    return identity("ort", Candidate(work.bundle.graph(work.role, key), "fp32"), work.target.model_copy(update={"options": ON_CPU}))


def _evaluate(work: Work, chosen: Chosen, folder: Path) -> None:
    keys = work.keys

    def opens(key: str) -> contextlib.AbstractContextManager[Runner]:
        return opened(*chosen[key], work.target) if key in chosen else in_fp32(work.bundle, work.role, work.target, key)

    def through(name: str, runner: Runner) -> Runner:
        return Watched(keys[name], runner)

    with work.bundle.session(work.role, work.target, opens=opens, through=through) as session, recording() as spans:
        found = answered(session, work.task, work.data, work.max_unreadable, work.report)
    own = _Answers.of(work, found)
    metrics = [*found.scored.metrics, *_agreement(work, own, _fp32_answers(work) if chosen else own)]
    kept = [one for one in metrics if one.name not in WIDE or one.name == work.gate.metric]
    np.savez(folder / ROWS, **{one.name: one.samples.rows for one in kept if one.samples})  # type: ignore[arg-type]
    if not chosen:
        np.savez(folder / ANSWERS, **{name: array for name, array in own.arrays.items() if array is not None})  # type: ignore[arg-type]
    made = Evaluated(
        metrics=tuple(Measured(name=one.name, why=one.why, higher_is_better=one.higher_is_better, how=one.how) for one in kept),
        classes=len(found.scored.classes),
        ran=tuple(key for key in keys.values() if key in spans.seconds),
        unreadable=found.tally.count,
        unreadable_said=found.tally.said,
        said=() if chosen else own.said,
    )
    (folder / EVALUATION).write_text(dump_json(made), encoding="utf-8")


def _fp32_answers(work: Work) -> _Answers:
    with _step(work, {}) as folder, np.load(folder / ANSWERS, allow_pickle=False) as stored:
        said = read_json(folder / EVALUATION, Evaluated, fix="").said
        return _Answers(said, {name: stored.get(name) for name in ARRAYS})


def _agreement(work: Work, own: _Answers, theirs: _Answers) -> list[Metric]:
    """How far answers are those of fp32, in all ways that the task has."""
    made = []
    if "top1_agreement" in work.task.agreement:
        made.append(top1_agreement(own.said, theirs.said))
    if "cosine" in work.task.agreement:
        made.append(
            _cosine([(ours, of) for name in ("vectors", "beside") if (ours := own.arrays[name]) is not None and (of := theirs.arrays[name]) is not None])
        )
    scores = own.arrays["scores"], theirs.arrays["scores"]
    if scores[0] is not None and scores[1] is not None:
        made.append(rank_correlation(scores[0], scores[1]))
    return made


def _cosine(pairs: Sequence[tuple[Values, Values]]) -> Metric:
    """Where a model embeds a sample's text too, the less of both: a graph of which one alone depends is not lost sight of in the mean."""
    found = [cosine(*pair) for pair in pairs]
    rows = [one.samples.rows for one in found if one.samples]
    if len(rows) < len(found):
        return next(one for one in found if one.samples is None)
    return measure([Draft("cosine", Samples(np.minimum.reduce(rows), mean))])[0]


def _read(folder: Path, made: Evaluated, name: str) -> Metric:
    """One metric with its rows, and its interval anew."""
    one = next(one for one in made.metrics if one.name == name)
    with np.load(folder / ROWS, allow_pickle=False) as stored:
        if name not in stored:
            return Metric(name, None, one.why, one.higher_is_better, one.how)
        rows = stored[name]
    return measure([Draft(name, Samples(rows, reduce_of(name, rows, made.classes)), one.why, one.higher_is_better, one.how)])[0]


def _hold_unreadable(work: Work, made: Evaluated) -> None:
    """Say which samples could not be read, also where that was found out in an earlier run, and with a limit of its own."""
    if made.unreadable:
        total = len(work.data)
        Tally(work.data.name, total, work.max_unreadable, made.unreadable, made.unreadable_said).hold("put whole files in their place")
        work.warn(f"unreadable: {made.unreadable} of {total} samples of {work.data.name} cannot be read and are left out: {'; '.join(made.unreadable_said)}")


def _given(work: Work) -> str:
    """A metric that the data do give."""
    with _step(work, {}) as folder, np.load(folder / ROWS, allow_pickle=False) as stored:
        return next((name for name in (*work.task.metrics, *work.task.agreement) if name in stored), "NAME")
