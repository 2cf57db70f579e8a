"""Hold a bundle against its golden data on a target: processors, graphs, verbs. The same on the build machine and on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.bundle import Bundle
from mmedge.deploy.standards import Standard, betrays, gated, outputs_for, verbs_for
from mmedge.deploy.whole import hold_whole
from mmedge.errors import GateFailed, MmedgeError
from mmedge.evaluate.drift import drifts
from mmedge.evaluate.golden import Golden
from mmedge.manifest import Gate, Manifest, Placement
from mmedge.need import NotInstalled
from mmedge.target import Target

Report = Callable[[str], None]

SHOWN = 200
"""Characters of an answer."""


def check(path: Path, target: Target, report: Report) -> Bundle:
    """Check a bundle and store the result in it.

    Raises:
        MmedgeError: not compiled for the target, or damaged.
        GateFailed: something differs; the manifest then says what and by how much.
    """
    with Bundle.writing(path) as bundle:
        bundle.manifest = examine(bundle, target, report)
        bundle.commit()
        raise_failed(bundle.manifest, target)
        return bundle


def raise_failed(manifest: Manifest, target: Target) -> None:
    """Raise GateFailed naming the first gate that did not pass."""
    gates = manifest.gates[f"check {target.name}"]
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        first = failed[0]
        raise GateFailed(
            f"{len(failed)} of {len(gates)} checks failed on {target.name}; first {first.name}: {first.value} (bound {first.bound}) {first.note}",
            f"do not deploy it; mmedge inspect shows every gate, mmedge check --target {target.name} --bisect names the layer where a graph begins to drift",
        )


def examine(bundle: Bundle, target: Target, report: Report) -> Manifest:
    """The manifest with the gates of this check in it; nothing is committed."""
    placements = bundle.manifest.engines.get(target.name)
    if placements is None:
        raise MmedgeError(f"{bundle.path} is not compiled for {target.name}", f"mmedge compile {bundle.path} --target {target.name}")
    hold_whole(bundle)
    gates: list[Gate] = []
    for gate in _gates(bundle, target, placements):
        report(f"{gate.word():4} {gate.name}: {_said(gate)}")  # as it is found: a small device takes minutes for all of them
        gates.append(gate)
    made = bundle.manifest
    return made.model_copy(update={"gates": {**made.gates, f"check {target.name}": tuple(gates)}})


def _gates(bundle: Bundle, target: Target, placements: Mapping[str, Placement]) -> Iterator[Gate]:
    for role in bundle.manifest.models:
        if waiting := [placed for name, placed in placements.items() if name.startswith(f"{role}/") and placed.state != "ready"]:
            how = "built on the device" if any(placed.state == "on-device" for placed in waiting) else "opened and checked first on the device"
            yield Gate(name=role, passed=True, note=f"not run: its engines are {how}; there: mmedge compile and mmedge check --target {target.name}")
        elif target.backends == ("null",):
            yield Gate(name=role, passed=True, note="not run: null computes nothing")
        else:
            golden = Golden(bundle, role)
            yield from _graphs(bundle, role, target, golden)
            yield from _cases(bundle, role, target, golden)


def _said(gate: Gate) -> str:
    """What a gate found: an answer as it is, a difference as a share of what it may be."""
    if isinstance(gate.value, float) and isinstance(gate.bound, float):
        if gate.bound:
            return f"{gate.value / gate.bound:.2%} of its bound"
        return f"differs by {gate.value}, and must not differ" if gate.value else "equal"
    return gate.note if gate.value is None else str(gate.value)


def _graphs(bundle: Bundle, role: str, target: Target, golden: Golden) -> Iterator[Gate]:
    for name in bundle.manifest.models[role].graphs_for(target).values():
        placed = bundle.placement(role, name, target)
        feeds, reference = golden.graph(name)
        standard = outputs_for(bundle, role, name, placed, reference)
        with bundle.runner(role, name, target) as runner:
            outputs, computed = runner.run(feeds), betrays(placed, runner.executed())
        if computed:
            said = f"what {placed.backend} computes in by its own word, and what it was placed in"
            yield Gate(name=f"precision {role}/{name}", passed=False, value=computed, bound=placed.precision, note=said)
        if not gated(bundle, role, name, target, placed):
            said = f"in {placed.precision} without a gate on data that it passed: mmedge quantize"
            yield Gate(name=f"task gate {role}/{name}", passed=False, value="none", bound="passed", note=said)
        found, kind = drifts(outputs, standard.expected, placed.precision)
        worst = max(found, key=lambda output: found[output])
        yield Gate(
            name=f"graph {role}/{name}",
            passed=found[worst] <= 1.0,
            value=_fraction(found[worst]),
            bound=1.0,
            note=f"{kind} of {worst} as a fraction of its bound, {placed.backend} {placed.precision}{standard.by}",
            outputs={output: _fraction(value) for output, value in found.items()},
        )


def _fraction(drift: float) -> float:
    """As JSON can hold it: there is no infinity."""
    return round(min(drift, 1e9), 4)


def _cases(bundle: Bundle, role: str, target: Target, golden: Golden) -> Iterator[Gate]:
    placements = {name: bundle.placement(role, name, target) for name in bundle.manifest.models[role].graphs_for(target).values()}
    exact = all(placed.precision == "fp32" for placed in placements.values())
    standards = verbs_for(bundle, role, target, placements)
    with bundle.session(role, target) as session:
        for index, (case, arguments, expected) in enumerate(golden.cases()):
            name = f"{case.level} {role}.{case.call} #{index}"
            standard = standards(case, expected) if case.level == "verb" else Standard(expected)
            if standard.unjudged:
                yield Gate(name=name, passed=True, note=f"not judged: {standard.unjudged}")
                continue
            try:
                result = getattr(session, case.call)(**arguments)
            except NotInstalled as error:
                yield Gate(name=name, passed=True, note=f"not run: {error.what} ({error.fix})")
                continue
            yield _judge(name, result, standard.expected, case.atol if exact or case.level == "processor" else max(case.atol, 2e-2))


def _judge(name: str, result: Any, expected: Any, atol: float) -> Gate:
    if isinstance(expected, np.ndarray):
        result, expected = {"": result}, {"": expected}
    if isinstance(expected, dict) and expected and all(isinstance(value, np.ndarray) for value in expected.values()):
        distance = max(_distance(np.asarray(result.get(key, np.nan)), value) for key, value in expected.items())
        return Gate(name=name, passed=distance <= atol, value=float(f"{min(distance, 1e9):.3g}"), bound=atol)
    same = _equal(result, expected, atol)
    got, wanted = str(result), str(expected)
    begin = 0 if same else _apart(got, wanted)
    return Gate(name=name, passed=same, value=got[begin : begin + SHOWN], bound=wanted[begin : begin + SHOWN])


def _apart(got: str, wanted: str) -> int:
    """Where to begin, so that what differs is among the characters that are shown."""
    first = next((index for index, (a, b) in enumerate(zip(got, wanted)) if a != b), min(len(got), len(wanted)))
    return 0 if first < SHOWN // 2 else first - SHOWN // 4


def _distance(got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    """The largest absolute difference; infinite where shapes differ or a value is not finite."""
    if got.shape != expected.shape:
        return float("inf")
    largest = float(np.abs(got.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0))
    return largest if np.isfinite(largest) else float("inf")


def _equal(result: Any, expected: Any, atol: float) -> bool:
    """Plain JSON, floats within ``atol``; a ranking of (label, score) pairs must also agree in order of its first entry."""
    if isinstance(expected, float):
        return isinstance(result, (int, float, np.floating)) and abs(float(result) - expected) <= atol
    if isinstance(expected, dict):
        return isinstance(result, dict) and result.keys() == expected.keys() and all(_equal(result[key], value, atol) for key, value in expected.items())
    if isinstance(expected, (list, tuple)):
        return isinstance(result, (list, tuple)) and len(result) == len(expected) and all(_equal(a, b, atol) for a, b in zip(result, expected))
    return bool(result == expected)
