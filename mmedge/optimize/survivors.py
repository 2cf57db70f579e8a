"""The candidates of one graph that hold the model's gate: proposed, made, judged on data one graph at a time, and repaired where they fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mmedge.cache import NoSpace
from mmedge.errors import MmedgeError, first_line
from mmedge.features import rests_on
from mmedge.optimize import judging
from mmedge.optimize.made import Made
from mmedge.optimize.opening import STAND_IN, refused_by_runtime, stands_in
from mmedge.optimize.proposals import Proposal, make, proposals, ranked
from mmedge.optimize.repair import MOST, repair
from mmedge.optimize.trying import tried
from mmedge.optimize.work import Work
from mmedge.rated import Rated
from mmedge.runner import Candidate

UNJUDGED = "unjudged"
"""The warning of a graph that the task never runs."""
NAMED = 2
"""Nodes in float, at most, that a line of progress names."""


@dataclass(frozen=True, eq=False)
class Survivor:
    """A candidate that holds the gate with all other graphs of its model in fp32. Opened by ``opening.opened(backend, candidate, target)``."""

    rated: Rated
    """``metric``, ``loss``, ``kept_float``, ``evaluations``, ``note``, ``size_mb`` and ``features`` are set; what is timed is not, nor ``made_of``."""
    backend: str
    candidate: Candidate
    made: Made | None
    """Where a maker made its graph; its files stay until the work ends."""


@dataclass(frozen=True, eq=False)
class Sifted:
    """All candidates of one graph."""

    survivors: tuple[Survivor, ...]
    """In order of preference: by the target's backends, then by their candidates and quantize tables. At least one of them is fp32."""
    rejected: tuple[Rated, ...]
    """With the reason in ``note``."""


def survivors(work: Work, key: str) -> Sifted:
    """Propose, make, judge and repair.

    Args:
        key: of the graph in the manifest.

    Raises:
        MmedgeError: the data do not give the metric, too many samples are unreadable, or nothing runs it in fp32.
    """
    name = f"{work.role}/{key}"
    judging.fp32(work)
    judges = key in judging.ran(work)
    if not judges:
        work.warn(f"{UNJUDGED}: {work.task.name} never runs {name}: nothing below 16 bits is tried for it, and golden data alone decides")
    found: list[Survivor] = []
    rejected: list[Rated] = []
    for proposal in proposals(work, key, fewer_bits=judges):
        one, rated = _sift(work, key, proposal, judges)
        work.report(f"{name}: {_said(rated)}")
        if rated.passed and one.candidate is not None:
            work.held.push(one.held)
            found.append(Survivor(rated, one.backend, one.candidate, one.made))
        else:
            one.held.close()
            rejected.append(rated)
    if not any(one.rated.precision == "fp32" for one in found):
        refused = [f"{one.name}: {one.note}" for one in rejected if one.precision == "fp32"]
        raise MmedgeError(
            f"{name} has no fp32 on {work.target.name} that the others could be compared with{': ' if refused else ''}{'; '.join(refused)}",
            f"let the precisions of one of its backends have fp32: {', '.join(work.target.backends)}"
            if not refused
            else "mmedge doctor says what is missing here",
        )
    return Sifted(tuple(found), tuple(rejected))


def _sift(work: Work, key: str, proposal: Proposal, judges: bool) -> tuple[Proposal, Rated]:
    """What becomes of one candidate: itself or, where that lost, its repaired form."""
    rated = _rate(work, key, proposal, judges)
    if rated.loss is None or rated.loss.word != "lost" or proposal.options is None:
        return proposal, rated
    work.report(f"{work.role}/{key}: {proposal.name} loses {rated.loss.found.value:.4g} of {rated.loss.metric}, {rated.loss.allowed:g} allowed: it is repaired")
    try:
        repaired, kept, evaluations = _repaired(work, key, proposal, judges)
    except MmedgeError as error:
        return proposal, rated.model_copy(update={"note": f"{rated.note}; not repaired: {error.what}"})
    if repaired is None:
        note = f"{rated.note}; no part of it left in float made it hold, in {evaluations} evaluations"
        return proposal, rated.model_copy(update={"note": note, "evaluations": evaluations})
    proposal.held.close()
    again = _rate(work, key, repaired, judges)
    return repaired, again.model_copy(update={"evaluations": evaluations, "kept_float": kept})


def _rate(work: Work, key: str, proposal: Proposal, judges: bool) -> Rated:
    """Golden first, which costs little; then the data."""
    rated: Callable[..., Rated] = partial(
        Rated,
        name=proposal.name,
        backend=proposal.backend,
        precision=proposal.precision,
        features=() if proposal.backend == "tensorrt" else rests_on(proposal.precision),
    )
    candidate = proposal.candidate
    if candidate is None:
        return rated(passed=False, note=proposal.refusal)
    golden = tried(work, key, proposal.backend, candidate)
    rated = partial(rated, size_mb=golden.size_mb)
    if golden.refusal:
        return rated(passed=False, note=golden.refusal)
    if proposal.made is None and golden.drift > 1:
        return rated(passed=False, note=f"{golden.drift:.3g} times its bound on golden data")
    notes = [candidate.note, STAND_IN if stands_in(proposal.backend, work.target) else ""]
    if not judges:
        return rated(passed=True, note=_joined(*notes, UNJUDGED), metric=judging.interval(judging.fp32(work)))
    chosen = {key: (proposal.backend, candidate)}
    try:
        found, metric = judging.judged(work, chosen), judging.metric(work, chosen)
    except NoSpace:
        raise
    except MmedgeError as error:
        return rated(passed=False, note=error.what)
    except Exception as error:
        if not refused_by_runtime(error):
            raise
        return rated(passed=False, note=f"{proposal.backend} fails on the data: {first_line(error)}")
    note = _joined(*notes, found.doubt if found.passed else str(found))
    return rated(passed=found.passed, note=note, metric=judging.interval(metric), loss=judging.loss(found))


def _repaired(work: Work, key: str, proposal: Proposal, judges: bool) -> tuple[Proposal | None, tuple[str, ...], int]:
    """(the candidate with few nodes in float, or None where none were enough; those nodes; how often the metric was evaluated)."""
    options = proposal.options
    assert options is not None
    ranking = ranked(work, key, proposal.backend, options)
    asked = 0

    def holds(kept: frozenset[str]) -> bool:
        nonlocal asked
        asked += 1
        one = make(work, key, proposal.backend, options, sorted(kept))
        with one.held:
            rated = _rate(work, key, one, judges)
        those = ", ".join(sorted(kept)) if len(kept) <= NAMED else f"{len(kept)} of {len(ranking)} nodes"
        work.report(f"{work.role}/{key}: {proposal.name}, {those} in float: {'holds' if rated.passed else _short(rated)}")
        return rated.passed

    # A maker refuses what would mostly be float.
    found = repair(ranking[: (len(ranking) + 1) // 2], holds, most=MOST)
    if found is None:
        return None, (), asked
    return make(work, key, proposal.backend, options, sorted(found.kept_float)), found.kept_float, found.evaluations


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _short(rated: Rated) -> str:
    return f"loses {rated.loss.found.value:.4g}" if rated.loss else rated.note


def _said(rated: Rated) -> str:
    """One line of progress."""
    figure = f"{rated.loss.metric} {rated.metric.value:.4g}, {rated.loss.found.value:+.4g} lost" if rated.passed and rated.loss and rated.metric else ""
    kept = f"nodes in float: {', '.join(rated.kept_float)}" if rated.kept_float else ""
    return f"{rated.name} {'holds' if rated.passed else 'is rejected'}: {_joined(figure, kept, rated.note) or 'by golden data'}"
