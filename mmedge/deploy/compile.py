"""Place every graph of a bundle on a target: which backend, in which precision, and why."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

from mmedge import runner
from mmedge.bundle import Bundle
from mmedge.deploy.plan import Sizes, write_plan
from mmedge.errors import GateFailed, MmedgeError
from mmedge.evaluate.golden import Golden
from mmedge.family import load_family
from mmedge.manifest import Manifest, Placement, Trial
from mmedge.optimize.choose import choose
from mmedge.target import Target

Report = Callable[[str], None]


def compile(path: Path, target: Target, report: Report) -> Bundle:
    """Compile an existing bundle for ``target`` and commit. Raises as ``place`` does."""
    with Bundle.writing(path) as bundle:
        fits(bundle.manifest, target)
        bundle.manifest = place(bundle, target, report)
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


def place(bundle: Bundle, target: Target, report: Report) -> Manifest:
    """The bundle's manifest with a placement for every graph on ``target``; nothing is committed.

    Raises:
        MmedgeError: no backend of the target works here, or its build plan cannot be written.
        GateFailed: a graph holds its golden bound on no backend.
    """
    made = bundle.manifest
    placements: dict[str, Placement] = {}
    planned: dict[str, Sizes] = {}
    for role, model in made.models.items():
        preferred = getattr(load_family(model.family), "PREFER", {})
        golden = Golden(bundle, role)
        for name, key in model.graphs_for(target).items():
            wanted = _wanted(target, preferred.get(name, ()))
            placements[f"{role}/{key}"] = placed = _place(bundle, role, key, target, wanted, golden)
            if target.boards and wanted[0] == "tensorrt":
                planned[f"{role}/{key}"] = {one: array.shape for one, array in golden.graph(key)[0].items()}
            report(f"{role}/{key}: {placed.backend} {placed.precision} ({placed.reason})")
    gates = {name: found for name, found in made.gates.items() if name != f"check {target.name}"}  # they were another compilation's
    plans = {name: plan for name, plan in made.plans.items() if name != target.name}
    if planned:
        plans[target.name] = write_plan(bundle, target, planned)
    return made.model_copy(update={"engines": {**made.engines, target.name: placements}, "plans": plans, "gates": gates})


def _wanted(target: Target, preferred: tuple[str, ...]) -> tuple[str, ...]:
    """The backends that a graph is offered to, in order."""
    return tuple(backend for backend in preferred if backend in target.backends) or target.backends


def _place(bundle: Bundle, role: str, name: str, target: Target, wanted: tuple[str, ...], golden: Golden) -> Placement:
    if target.build_on == "device" and not target.is_here():
        why = "the model's family prefers it" if wanted != target.backends else "built on the device, not on this machine"
        return Placement(state="on-device", backend=wanted[0], precision=target.precisions.get(wanted[0], ("fp32",))[0], reason=why)
    graph = bundle.graph(role, name)
    candidates: list[tuple[str, runner.Candidate]] = []
    refusals: list[Trial] = []
    for backend in wanted:
        if backend not in runner.backend_names():
            refusals.append(Trial(backend=backend, precision="", note=f"this version of mmedge has no {backend} backend"))
            continue
        facts = runner.load_backend(backend).probe()
        if not facts.available:
            refusals.append(Trial(backend=backend, precision="", note=facts.reason))
            continue
        found = runner.load_backend(backend).candidates(graph, target)
        candidates += [(backend, candidate) for candidate in found]
        if not found:
            allowed = target.precisions.get(backend, ("fp32",))
            refusals.append(Trial(backend=backend, precision="", note=f"it offers none of {', '.join(allowed)} for this graph here"))
    if not candidates:
        raise MmedgeError(
            f"no backend of {target.name} works here: {'; '.join(f'{trial.backend}: {trial.note}' for trial in refusals)}",
            "install one of them, or choose another target: mmedge targets",
        )
    if target.backends == ("null",):
        return Placement(state="ready", backend="null", precision="fp32", reason="computes nothing")
    with bundle.scratch() as scratch:
        winner, trials = choose(candidates, *golden.graph(name), target, scratch)
        file = bundle.add(role, winner[1].path.name, winner[1].path) if winner and winner[1].path else None
    if winner is None:
        raise _nowhere(f"{role}/{name}", target, trials)
    backend, engine = winner
    key = {"version": runner.load_backend(backend).probe().version or "", "machine": platform.machine()}
    return Placement(
        state="ready",
        backend=backend,
        precision=engine.candidate.precision,
        file=file,
        reason=_reason((backend, engine.candidate.precision), wanted, target, trials, refusals),
        key=key,
        trials=(*trials, *refusals),
    )


def _nowhere(graph: str, target: Target, trials: tuple[Trial, ...]) -> MmedgeError:
    """The error of a graph without a place: a gate has failed only where something was computed."""
    failed = "; ".join(f"{trial.backend} {trial.precision}: {trial.note if trial.drift is None else f'{trial.drift:.3g} times the bound'}" for trial in trials)
    if all(trial.drift is None for trial in trials):
        return MmedgeError(f"{graph} can be opened by no backend of {target.name}: {failed}", "see to that, or choose another target: mmedge targets")
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
        return "the model's family prefers it"
    others = [
        f"{' '.join(filter(None, (trial.backend, trial.precision)))}: {trial.note if trial.drift is None else 'outside its bound'}"
        for trial in (*trials, *refusals)
        if trial.median_ms is None
    ]
    return "; ".join(others) or "the target's backend"
