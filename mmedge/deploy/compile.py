"""Place every graph of a bundle on a target: which backend, in which precision, and why."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from pathlib import Path

from mmedge import cache, fallback, runner
from mmedge.backends.tensorrt import flavour as flavours
from mmedge.backends.tensorrt import store
from mmedge.bundle import Bundle
from mmedge.deploy.chosen import hold_anew, kept, rechoose
from mmedge.deploy.elsewhere import PREFERRED, Offer, foresee, unopened
from mmedge.deploy.memory import Memory, estimate, limit_mb, mb, require
from mmedge.deploy.plan import Planning, write_plan
from mmedge.deploy.ranges import with_ranges
from mmedge.deploy.whole import hold_labels
from mmedge.errors import GateFailed, MmedgeError
from mmedge.evaluate.golden import Golden
from mmedge.family import offered
from mmedge.manifest import Evidence, Gate, Manifest, Onnx, Placement, Trial
from mmedge.need import have
from mmedge.optimize.choose import choose
from mmedge.optimize.variants import add_variant
from mmedge.target import Precision, Target

Report = Callable[[str], None]

VARIANTS = "variants"
"""Where the manifest keeps the gates of graphs in other precisions."""


def compile(path: Path, target: Target, report: Report, *, anew: bool = False) -> Bundle:
    """Compile an existing bundle for ``target`` and commit. Raises as ``place`` does, or MmedgeError: a graph is not what the manifest says."""
    with Bundle.writing(path) as bundle:
        fits(bundle.manifest, target)
        hold_labels(bundle)
        bundle.manifest = place(bundle, target, report, anew=anew)
        bundle.commit()
        return bundle


def fits(manifest: Manifest, target: Target) -> None:
    """Raises MmedgeError: a graph is newer than what the target's runtimes read."""
    for role, model in manifest.models.items():
        for name, key in model.graphs_for(target).items():
            graph = model.graphs[key]
            if graph.opset > target.max_opset or graph.ir > target.max_ir:
                raise MmedgeError(
                    f"{role}/{name} is opset {graph.opset}, IR {graph.ir}; {target.name} takes up to opset {target.max_opset}, IR {target.max_ir}",
                    "leave that target out; mmedge itself writes opset 18, IR 10",
                )


def place(bundle: Bundle, target: Target, report: Report, *, anew: bool = False) -> Manifest:
    """The bundle's manifest with a placement for every graph on ``target``, and the variants that the target wants; nothing is committed.

    Args:
        anew: first measure all candidates that quantizing found once more; otherwise what was chosen then is kept where it holds here.

    Raises:
        MmedgeError: the target's options are wrong, none of its backends works here, a graph fits on none, its boards lack the memory, or its build plan
            cannot be written; or nothing can be chosen ``anew`` here.
        GateFailed: a graph holds its golden bound on no backend.
    """
    runner.hold_options(target)
    if anew:
        hold_anew(bundle, target)
    offers = _offers(bundle, target, report)
    memory = _memory(bundle, offers, target, report)
    if anew:
        rechoose(bundle, offers, target, report)
    made, before = bundle.manifest, bundle.manifest.engines.get(target.name, {})
    placements: dict[str, Placement] = {}
    planned: list[Planning] = []
    for offer in offers:
        if target.build_on == "device" and not target.is_here():
            placed = foresee(bundle, offer, target, before.get(offer.name))
        else:
            choice = fallback.choice_of(made, offer.role, offer.key, target)
            chosen = kept(bundle, offer, target, choice) if choice else None
            if choice and not chosen:
                anew_here = f"mmedge compile {bundle.path} --target {target.name} --rechoose"
                report(f"{offer.name}: nothing of what was quantized is chosen on this machine; to measure it here: {anew_here}")
            placed = chosen or _place(bundle, offer, target, before.get(offer.name))
        placements[offer.name] = placed
        if target.boards and offer.wanted[0] == "tensorrt" and (placed.backend == "tensorrt" or placed.state == "ready"):
            planned.append(_planning(made, offer, placed, target))
        report(f"{offer.name}: {placed.backend} {placed.precision} ({placed.reason})")
    gates = {name: found for name, found in made.gates.items() if name != f"check {target.name}"}  # they were another compilation's
    plans = {name: plan for name, plan in made.plans.items() if name != target.name}
    if planned:
        plans[target.name] = write_plan(bundle, target, planned, memory)
    return made.model_copy(update={"engines": {**made.engines, target.name: placements}, "plans": plans, "gates": gates})


def _offers(bundle: Bundle, target: Target, report: Report) -> list[Offer]:
    """Every graph that the target runs, in the precisions that it wants."""
    offers = []
    for role, model in bundle.manifest.models.items():
        golden = Golden(bundle, role)
        for name, key in model.graphs_for(target).items():
            wanted = offered(model.family, name, target)
            missing = ""
            if wanted[0] == "tensorrt" and "fp16" in target.precisions.get("tensorrt", ()):
                missing = _half(bundle, role, key, golden, report)
            graph = with_ranges(bundle.graph(role, key), golden.graph(key)[0])
            offers.append(Offer(role, key, graph, wanted, golden, missing))
    return offers


def _half(bundle: Bundle, role: str, key: str, golden: Golden, report: Report) -> str:
    """See that the draft holds a graph in fp16. Returns why it does not."""
    entry = bundle.manifest.models[role].graphs[key]
    if any(variant.precision == "fp16" for variant in entry.variants):
        return ""
    if not have("onnx"):  # as on a device
        return "not in fp16: the bundle does not hold it so, and making it needs the package onnx"
    found = add_variant(bundle, role, key, "fp16", golden)
    if isinstance(found, Gate):
        gate, why = found, f"not in fp16: {found.note or f'{found.value} times its bound'}"
    else:
        gate = Gate(name=f"fp16 {role}/{key}", passed=True, value=round(found.drift, 4), bound=1.0, note=found.method)
        why = ""
        model = bundle.manifest.models[role]
        graphs = {**model.graphs, key: entry.model_copy(update={"variants": (*entry.variants, found)})}
        models = {**bundle.manifest.models, role: model.model_copy(update={"graphs": graphs})}
        bundle.manifest = bundle.manifest.model_copy(update={"models": models})
    report(f"{role}/{key}: {why or f'in fp16 ({gate.note}), at {found.drift:.0%} of its bound'}")  # type: ignore[union-attr]
    others = tuple(one for one in bundle.manifest.gates.get(VARIANTS, ()) if one.name != gate.name)
    bundle.manifest = bundle.manifest.model_copy(update={"gates": {**bundle.manifest.gates, VARIANTS: (*others, gate)}})
    return why


def _memory(bundle: Bundle, offers: list[Offer], target: Target, report: Report) -> Memory | None:
    """What the bundle needs of a target whose memory is known. Raises MmedgeError: more than there is."""
    limit = limit_mb(target)
    if limit is None:
        return None
    memory = estimate({offer.name: (offer.graph, _precision(offer, target)) for offer in offers})
    require(memory, limit, target, bundle.path.name)
    report(f"{target.name}: about {mb(memory.total_mb)} of {limit} MB of memory ({memory.parts()}), without the system's and the runtime's own")
    return memory


def _precision(offer: Offer, target: Target) -> Precision:
    """What a graph will most likely run in."""
    allowed = target.precisions.get(offer.wanted[0], ("fp32",))
    return next((one for one in allowed if one in offer.graph.variants), "fp32")


def _planning(manifest: Manifest, offer: Offer, placed: Placement, target: Target) -> Planning:
    """What the build plan says of a graph: it is built in the first precision that it is there in, wherever it runs here."""
    entry = manifest.models[offer.role].graphs[offer.key]
    precision = placed.precision if placed.backend == "tensorrt" else _precision(offer, target)
    made_of = placed.made_of if placed.backend == "tensorrt" else offer.graph.variants[precision].sha256 if precision in offer.graph.variants else None
    entries: dict[str | None, Onnx] = {one.file.sha256: one for one in entry.variants}
    graphs = {one.sha256: one for one in offer.graph.variants.values()}
    return Planning(offer.name, entries.get(made_of, entry), graphs.get(made_of or "", offer.graph), precision, placed.evidence)


def _place(bundle: Bundle, offer: Offer, target: Target, before: Placement | None) -> Placement:
    """Where a graph runs on this machine, by measurement."""
    candidates: list[tuple[str, runner.Candidate]] = []
    refusals: list[Trial] = []
    fixes: list[str] = []
    for backend in offer.wanted:
        if backend not in runner.backend_names():
            refusals.append(Trial(backend=backend, precision="", note=f"this version of mmedge has no {backend} backend"))
            continue
        facts = runner.load_backend(backend).probe(target)
        if not facts.available and backend == "tensorrt" and flavours.options(target).trtexec and flavours.version("tensorrt") is None:
            try:
                return unopened(bundle, offer, target)
            except MmedgeError as error:
                refusals.append(Trial(backend=backend, precision="", note=error.what))
                fixes.append(error.fix)
                continue
        if not facts.available:
            refusals.append(Trial(backend=backend, precision="", note=facts.reason))
            fixes.append(facts.fix)
            continue
        found = runner.load_backend(backend).candidates(offer.graph, target)
        candidates += [(backend, candidate) for candidate in found]
        if not found:
            allowed = target.precisions.get(backend, ("fp32",))
            refusals.append(Trial(backend=backend, precision="", note=f"it offers none of {', '.join(allowed)} for this graph here"))
    if not candidates:
        raise MmedgeError(
            f"no backend of {target.name} works here: {'; '.join(f'{trial.backend}: {trial.note}' for trial in refusals)}",
            f"{'; '.join(filter(None, fixes)) or 'install one of them'}; or choose another target: mmedge targets",
        )
    if target.backends == ("null",):
        return Placement(state="ready", backend="null", precision="fp32", reason="computes nothing")
    for backend, candidate in candidates:
        if backend == "tensorrt":
            _lend(bundle, candidate, target, before)
    with bundle.scratch() as scratch:
        winner, trials = choose(candidates, *offer.golden.graph(offer.key), target, scratch)
        file = bundle.add(offer.role, winner[1].path.name, winner[1].path) if winner and winner[1].path else None
    if winner is None:
        raise _nowhere(offer.name, target, trials)
    backend, engine = winner
    precision, made_of = engine.candidate.precision, engine.candidate.graph.sha256
    return Placement(
        state="ready",
        backend=backend,
        precision=precision,
        file=file,
        reason=_reason((backend, precision), offer.wanted, target, trials, refusals),
        made_of=made_of if made_of != offer.graph.sha256 else None,
        key=_bound_to(backend, engine.candidate, target),
        trials=(*trials, *refusals),
        evidence=_evidence(backend, precision, target, trials),
    )


def _lend(bundle: Bundle, candidate: runner.Candidate, target: Target, before: Placement | None) -> None:
    """An engine that the bundle brings, and that was made for just this, need not be built again."""
    if before is None or before.file is None or before.backend != "tensorrt" or before.precision != candidate.precision:
        return
    key = store.key(candidate, target)
    with cache.locked(store.lock(key)):
        if store.find(key) is None and same(before.key, key):
            store.keep(key, bundle.file(before.file))


def same(made: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether an engine made under one key is what another one asks for. One that was made without a driver is bound to no CUDA."""
    unbound = {"cuda": ""} if made.get("flavour") == "rtx" and made.get("cuda") == store.NONE else {}
    return {**made, **unbound} == {**wanted, **unbound}


def _bound_to(backend: str, candidate: runner.Candidate, target: Target) -> dict[str, str]:
    if backend == "tensorrt":
        return store.key(candidate, target)
    return {"version": runner.load_backend(backend).probe(target).version or "", "machine": platform.machine()}


def _evidence(backend: str, precision: str, target: Target, trials: tuple[Trial, ...]) -> tuple[Evidence, ...]:
    """That an engine ran here, and how fast. Other backends compile nothing that could fail elsewhere."""
    if backend != "tensorrt":
        return ()
    facts = runner.load_backend(backend).probe(target)
    trial = next(one for one in trials if (one.backend, one.precision) == (backend, precision))
    note = f"{trial.median_ms:.2f} ms, the median of {trial.rounds} runs; at {trial.drift or 0:.0%} of its bound" if trial.median_ms is not None else ""
    return (Evidence(kind="measured" if note else "run", on=f"{facts.version}, {facts.reason}", note=note),)


def _nowhere(graph: str, target: Target, trials: tuple[Trial, ...]) -> MmedgeError:
    """The error of a graph without a place: a gate has failed only where something was computed."""
    failed = "; ".join(f"{trial.backend} {trial.precision}: {trial.note if trial.drift is None else f'{trial.drift:.3g} times the bound'}" for trial in trials)
    if all(trial.drift is None for trial in trials):
        return MmedgeError(
            f"{graph} can be opened by no backend of {target.name}: {failed}",
            "mmedge doctor says what this machine lacks, and the command that mends it; or choose another target: mmedge targets",
        )
    return GateFailed(
        f"{graph} holds its golden bound on no backend of {target.name}: {failed}", "export the bundle again on a healthy machine; if it repeats, report it"
    )


def _reason(winner: tuple[str, str], wanted: tuple[str, ...], target: Target, trials: tuple[Trial, ...], refusals: list[Trial]) -> str:
    raced = sorted((trial for trial in trials if trial.median_ms is not None), key=lambda trial: trial.median_ms or 0.0)
    if len(raced) > 1:
        first = (raced[0].backend, raced[0].precision) == winner
        times = ", ".join(f"{trial.backend} {trial.precision} {trial.median_ms:.2f} ms" for trial in raced)
        return f"{'fastest within bounds' if first else 'preferred, and none is clearly faster'}: {times}"
    if wanted != target.backends:
        return PREFERRED
    others = [
        f"{' '.join(filter(None, (trial.backend, trial.precision)))}: {trial.note if trial.drift is None else 'outside its bound'}"
        for trial in (*trials, *refusals)
        if trial.median_ms is None
    ]
    return "; ".join(others) or "the target's backend"
