"""Graphs that ``mmedge quantize`` has chosen a candidate for: a choice that holds on this machine is kept, or all that passed is measured here once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial

from mmedge import fallback, features
from mmedge.backends.tensorrt import flavour as flavours
from mmedge.backends.tensorrt import store
from mmedge.bundle import Bundle
from mmedge.deploy.elsewhere import Offer
from mmedge.deploy.standards import outputs_for
from mmedge.errors import MmedgeError
from mmedge.evaluate.drift import drift
from mmedge.manifest import Evidence, Placement, Quantized
from mmedge.optimize.choice import alternatives, choice, instead
from mmedge.optimize.integer import saturates
from mmedge.optimize.opening import opened
from mmedge.optimize.survivors import Survivor
from mmedge.optimize.timing import Bench, base_of, measured
from mmedge.optimize.together import fits, together
from mmedge.profile.machine import describe, machine
from mmedge.rated import Choice, Rated
from mmedge.runner import Candidate, load_backend
from mmedge.target import Target

Report = Callable[[str], None]

ANEW = "chosen-anew"
"""The warning of a choice that no data has judged as a whole."""
PRECISIONS = ("fp32", "bf16", "fp16", "int8", "int4")
UNTIMED = {"ratio": None, "latency_ms": None, "memory_mb": None, "pareto": False}


def kept(bundle: Bundle, offer: Offer, target: Target, found: Choice) -> Placement | None:
    """A graph as it was chosen, or as the next candidate that holds here; nothing is timed.

    Returns:
        None where nothing was chosen by measurement yet, as for a board that was not at hand, or where nothing of it can be opened here.
    """
    best = found.of(found.chosen)
    if best.latency_ms is None or (best.backend == "tensorrt" and _only_builds(target)):
        return None
    lacking = sorted(set(best.features) - set(features.cpu_flags()))
    passed_over = f"{best.name} rests on {', '.join(lacking)}, which this CPU lacks" if lacking else ""
    for rated in found.valid(features.cpu_flags()):
        if why := _unfit(bundle, offer, rated, target):
            passed_over = passed_over or f"{rated.name}: {why}"
            continue
        return _placed(bundle, offer, rated, target, f"{passed_over}; to choose anew here: --rechoose" if passed_over else found.why)
    return None


def hold_anew(bundle: Bundle, target: Target) -> None:
    """Before anything is computed for ``rechoose``.

    Raises:
        MmedgeError: the bundle was never quantized for the target, its boards are elsewhere, or nothing here can open their engines.
    """
    again = f"mmedge compile {bundle.path} --target {target.name}"
    if not bundle.manifest.quantized.get(target.name):
        quantize = f"mmedge quantize {bundle.path} --target {target.name} --data DATA"
        raise MmedgeError(f"{bundle.path} was never quantized for {target.name}: there is nothing to choose from", quantize)
    if target.build_on == "device" and not target.is_here():
        raise MmedgeError(f"candidates for {target.name} are measured on the board, and this machine is none", f"on the board: {again} --rechoose")
    if "tensorrt" in target.backends and _only_builds(target):
        raise MmedgeError("candidates cannot be measured: TensorRT's Python module, which opens engines, is missing here", flavours.INSTALL["tensorrt"])


def rechoose(bundle: Bundle, offers: Sequence[Offer], target: Target, report: Report) -> None:
    """Measure on this machine all candidates that passed, and put the new choices into the bundle's draft.

    Raises:
        MmedgeError: no candidate in fp32 runs here, or none keeps the budget.
    """
    there = bundle.manifest.quantized[target.name]
    made, asked = dict(there), datetime.now(timezone.utc).isoformat()
    for role, quantized in there.items():
        choices = {
            offer.key: _anew(bundle, offer, Bench(target, offer.golden.graph(offer.key)[0], partial(_of, report, offer.name), asked=asked), quantized)
            for offer in offers
            if offer.role == role and offer.key in quantized.graphs
        }
        both = together(role, {**quantized.graphs, **choices}, quantized.goal, quantized.budget, quantized.higher_is_better)
        made[role] = _settled(quantized, both)
        for warning in made[role].warnings:
            if warning not in quantized.warnings:
                report(f"{role}: {warning}")
    bundle.manifest = bundle.manifest.model_copy(update={"quantized": {**bundle.manifest.quantized, target.name: made}})


def _of(report: Report, name: str, line: str) -> None:
    report(f"{name}: {line}")


def _only_builds(target: Target) -> bool:
    return flavours.options(target).trtexec and flavours.version("tensorrt") is None


def _anew(bundle: Bundle, offer: Offer, bench: Bench, quantized: Quantized) -> Choice:
    survivors: list[Survivor] = []
    others: list[Rated] = []
    found, target = quantized.graphs[offer.key], bench.target
    order = {backend: place for place, backend in enumerate(target.backends)}
    for rated in sorted(found.rated, key=lambda one: (order.get(one.backend, len(order)), PRECISIONS.index(one.precision))):
        if not rated.usable:
            others.append(rated.model_copy(update=UNTIMED))
        elif why := _unfit(bundle, offer, rated, target, anew=True):
            bench.report(f"{rated.name} is not measured: {why}")
            others.append(rated.model_copy(update=UNTIMED))
        else:
            bound = () if rated.backend == "tensorrt" else features.rests_on(rated.precision)
            fresh = rated.model_copy(update={**UNTIMED, "features": bound})
            survivors.append(Survivor(fresh, rated.backend, _candidate(offer, rated), None))
    timed = measured(survivors, bench) if survivors else []
    if base_of(timed) is None:
        raise MmedgeError(f"{offer.name} runs in fp32 on no backend of {target.name} here: there is nothing to compare with", "mmedge doctor")
    return choice((*timed, *others), quantized.goal, quantized.budget, quantized.higher_is_better)


def _unfit(bundle: Bundle, offer: Offer, rated: Rated, target: Target, *, anew: bool = False) -> str:
    """Why a candidate cannot be used here; empty where it gives what it gave when it was made."""
    if why := fallback.refusal(rated, target)[0]:
        return why
    if anew and saturates() and set(rated.features) & set(features.INTEGER_FLAGS):
        return "it was made for a CPU that adds up products of 8 bits in 32, and this one does so in 16, which overflow"
    feeds, reference = offer.golden.graph(offer.key)
    standard = outputs_for(bundle, offer.role, offer.key, rated, reference)
    try:
        with opened(rated.backend, _candidate(offer, rated), target) as runner:
            distance = drift(runner.run(feeds), standard.expected, rated.precision)[0]
    except MmedgeError as error:
        return error.what
    return f"{distance:.3g} times its bound{standard.by}" if distance > 1.0 else ""


def _candidate(offer: Offer, rated: Rated) -> Candidate:
    graph = offer.graph if rated.made_of is None else next(one for one in offer.graph.variants.values() if one.sha256 == rated.made_of)
    return Candidate(graph, rated.precision)


def _placed(bundle: Bundle, offer: Offer, rated: Rated, target: Target, why: str) -> Placement:
    backend, candidate = load_backend(rated.backend), _candidate(offer, rated)
    with bundle.scratch() as scratch:
        engine = backend.compile(candidate, target, scratch)
        file = bundle.add(offer.role, engine.path.name, engine.path) if engine.path else None
    found = fallback.placement(rated, why, target)
    if rated.backend != "tensorrt":
        return found
    facts = backend.probe(target)
    ran = Evidence(kind="run", on=f"{facts.version}, {facts.reason}", note=f"{rated.latency_ms:g} ms when it was chosen" if rated.latency_ms else "")
    return found.model_copy(update={"file": file, "key": store.key(candidate, target), "evidence": (ran,)})


def _settled(quantized: Quantized, choices: Mapping[str, Choice]) -> Quantized:
    """What is remembered of a model. No data is here to judge it as a whole: losses that were judged alone are taken to add up."""
    settled = dict(choices)
    judged = all(settled[key].chosen == found.chosen for key, found in quantized.graphs.items())
    while not judged and sum(map(_lost, settled.values())) > quantized.loss.allowed:
        key = max(settled, key=lambda one: _lost(settled[one]))
        worst = settled[key]
        others = alternatives(worst, quantized.budget, quantized.higher_is_better)
        less = next((name for name in others if _loss(worst.of(name)) < _lost(worst) and fits({**settled, key: _as(worst, name)}, quantized.budget)), None)
        if less is None:
            break
        settled[key] = instead(worst, less, f"the next after {worst.chosen}, with which the losses of the graphs add up to more than is allowed")
    line = describe(machine())
    update: dict[str, object] = {"graphs": settled, "machine": line}
    if any(settled[key].chosen != quantized.graphs[key].chosen for key in settled):
        said = f"{ANEW}: chosen on {line}; no data has judged these candidates together, as mmedge quantize does"
        update |= {"warnings": (*(one for one in quantized.warnings if not one.startswith(ANEW)), said), "golden": None, "cases": ()}
    return quantized.model_copy(update=update)


def _as(found: Choice, name: str) -> Choice:
    return found.model_copy(update={"chosen": name})


def _lost(one: Choice) -> float:
    return _loss(one.of(one.chosen))


def _loss(rated: Rated) -> float:
    return max(rated.loss.found.value, 0.0) if rated.loss else 0.0
