"""What a bundle holds, where it runs, and whether it is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from mmedge.bundle import Bundle
from mmedge.deploy.chosen import ANEW
from mmedge.deploy.whole import hold_whole
from mmedge.evaluate.drift import HALF_BOUND
from mmedge.fallback import FEATURES, as_chosen, missing
from mmedge.manifest import Gate, Manifest, Onnx, Placement, Quantized, Tensor, Variant
from mmedge.rated import POINT

WORDS = {"undecided": "undecided, these units are too few to tell"}
STATES = {"ready": "", "built": " (built, not opened yet)", "on-device": " (on the device)"}


def inspect(path: Path, *, gc: bool = False) -> tuple[Manifest, list[Path]]:
    """Read the manifest, verify every file it names, and that nothing is missing.

    Args:
        gc: remove the files that no manifest names.

    Returns:
        The manifest, and the files that it does not name (now removed, if ``gc``).

    Raises:
        MmedgeError: the bundle is missing or damaged.
    """
    bundle = Bundle.open(path)
    hold_whole(bundle)
    orphans = bundle.orphans()
    if gc and orphans:
        with Bundle.writing(path) as writable:  # nobody may be adding files while they are removed
            orphans = writable.orphans()
            for orphan in orphans:
                orphan.unlink()
    return bundle.manifest, orphans


def describe(manifest: Manifest) -> str:
    """The manifest for people: models, graphs, placements, gates."""
    allowed = " ".join(["", *manifest.provenance.get("allowed", ())])
    lines = [f"{manifest.name}, made {manifest.created} by mmedge {manifest.provenance.get('mmedge', '?')}{allowed}"]
    for role, model in manifest.models.items():
        lines += ["", f"{role}: {model.family}"]
        for graph in model.graphs.values():
            lines.append(f"  {graph.file.path}  {graph.file.size_bytes / 1e6:.1f} MB  opset {graph.opset}")
            lines += [f"    as {one.name}: {one.file.path}  {_size_mb(one):.1f} MB  ({_variant(one)})" for one in graph.variants]
            lines += [f"    {dimension}: {least} to {largest}, mostly {likeliest}" for dimension, (least, likeliest, largest) in graph.ranges.items()]
            lines += [
                f"    {side} {tensor.name} {tensor.dtype} {list(tensor.shape)}"
                for side, tensors in (("in ", graph.inputs), ("out", graph.outputs))
                for tensor in _few(tensors)
            ]
        stored: list[Onnx] = [one for graph in model.graphs.values() for one in (graph, *graph.variants)]
        files = [*{one.weights.path: one.weights for one in stored if one.weights}.values(), *model.assets.values()]
        lines += [f"  {entry.path}  {entry.size_bytes / 1e6:.1f} MB" for entry in files]
    for target, placements in manifest.engines.items():
        lines += ["", f"on {target}:"]
        for name, placed in placements.items():
            lines.append(f"  {name}: {_runs_as(manifest, name, placed)}{STATES[placed.state]}: {placed.reason}")
            lines += [f"    rests on {', '.join(flags)}{_lacking(placed)}" for flags in [placed.key.get(FEATURES, "").split()] if flags]
            lines += [f"    {one.kind}: {one.on}{f' ({one.note})' if one.note else ''}" for one in placed.evidence]
        lines += [f"  {line}" for line in _unproven(manifest, target)]
        lines += [f"  {line}" for role, found in manifest.quantized.get(target, {}).items() for line in (_judged(role, found, placements), *found.warnings)]
        lines += [f"  build plan: {file.path}" for file in manifest.plans.get(target, ())]
    for check, gates in manifest.gates.items():
        if not gates:  # nothing was traced: the model came as ONNX
            continue
        lines += ["", f"{check}: {_passed(gates)} gates passed"]
        lines += [f"  {gate.word():4} {gate.name}:{'' if gate.value is None else f' {gate.value}'} {gate.note}".rstrip() for gate in gates]
    return "\n".join(lines)


def _size_mb(one: Variant) -> float:
    return sum(file.size_bytes for file in (one.file, one.weights) if file) / 1e6


def _variant(one: Variant) -> str:
    """How a variant was made, and how far that is from fp32 on golden inputs: of integers that says little, and the task's metric more."""
    if one.precision in ("int8", "int4"):
        return f"{one.precision}; differs from fp32 by {one.drift * HALF_BOUND:.1%}"
    return f"{one.method}; at {one.drift:.0%} of its bound"


def _runs_as(manifest: Manifest, name: str, placed: Placement) -> str:
    """Backend and precision, and the method of what was quantized."""
    role, _, key = name.partition("/")
    made = next((one.method for one in manifest.models[role].graphs[key].variants if one.backend and one.file.sha256 == placed.made_of), "")
    return " ".join(filter(None, (placed.backend, placed.precision, made)))


def _lacking(placed: Placement) -> str:
    lacking = missing(placed)
    return f"; this CPU lacks {', '.join(lacking)}: here it runs as the next candidate" if lacking else ""


def _judged(role: str, found: Quantized, placements: Mapping[str, Placement]) -> str:
    """What quantizing a model came to, and which of its graphs run otherwise now."""
    lost = [value / POINT for value in (found.loss.found.value, found.loss.found.low, found.loss.found.high, found.loss.allowed)]
    points = f"{lost[0]:+.2f} points lost ({lost[1]:+.2f} to {lost[2]:+.2f}), {lost[3]:g} allowed: {WORDS.get(found.loss.word, found.loss.word)}"
    placed = {key: placements.get(f"{role}/{key}") for key in found.graphs}
    others = [key for key, one in placed.items() if one and not as_chosen(one, found.graphs[key])]
    now = f"; not as it runs now: {', '.join(others)} {'is' if len(others) == 1 else 'are'} placed otherwise" if others else ""
    now = now or ("; judged before candidates were chosen anew" if any(one.startswith(ANEW) for one in found.warnings) else "")
    return f"quantized {role} by {found.task} on {found.data}: {found.metric} {found.whole.value:.3f}, in fp32 {found.fp32.value:.3f}: {points}{now}"


def _unproven(manifest: Manifest, target: str) -> list[str]:
    """What nobody should take for proven."""
    waiting = [placed for placed in manifest.engines[target].values() if placed.state != "ready" and placed.backend == "tensorrt"]
    if not waiting:
        return []
    kinds = Counter(one.kind for placed in waiting for one in placed.evidence)
    refused = sum(not placed.evidence and any(one.precision == placed.precision for one in placed.trials) for placed in waiting)
    nothing = sum(not placed.evidence for placed in waiting) - refused
    told = [f"{count} {kind}" for kind, count in kinds.items()]
    told += [f"{count} {words}" for count, words in ((refused, "refused by TensorRT-RTX"), (nothing, "neither parsed nor built")) if count]
    where = " and ".join(sorted({one.on for placed in waiting for one in placed.evidence}))
    board = target in manifest.plans
    never = "never run on a Jetson, whose TensorRT is another product" if board else "never run on a GPU"
    return [f"engines: {', '.join(told)}{f' with {where}' if where else ''}; {never if where or not board else 'never run on a Jetson'}"]


def summary(manifest: Manifest, path: Path) -> str:
    """What a build ends on: where each graph runs, and what is still to do where."""
    roles = ", ".join(f"{role} ({model.family})" for role, model in manifest.models.items())
    lines = [f"{path}: {roles}, {sum(file.size_bytes for file in manifest.files()) / 1e6:.0f} MB"]
    for target, placements in manifest.engines.items():
        gates = manifest.gates.get(f"check {target}", ())
        waiting = {placed.state for placed in placements.values()} - {"ready"}
        if waiting:
            built = "built, and opened on the device" if "built" in waiting else "built on the device"
            lines.append(f"{target}: the ONNX graphs are verified; engines are {built}")
        else:
            lines.append(f"{target}: ready{f', {_passed(gates)} checks passed' if gates else ''}")
        for name, placed in placements.items():
            kinds = ", ".join(dict.fromkeys(one.kind for one in placed.evidence))
            size = f", {placed.file.size_bytes / 1e6:.1f} MB" if placed.file else ""
            lines.append(f"  {name}: {_runs_as(manifest, name, placed)}{size}{f' (evidence: {kinds})' if kinds else ''}")
        lines += [f"  {_judged(role, found, placements)}" for role, found in manifest.quantized.get(target, {}).items()]
        lines += [f"  {line}" for line in _unproven(manifest, target)]
        if plan := manifest.plans.get(target):
            lines.append(f"  build plan: {plan[0].path}, with a script for each TensorRT")
        if waiting:
            there = f"mmedge compile {path.name} --target {target}, then mmedge check {path.name} --target {target}"
            lines.append(f"  next: mmedge push {path} USER@BOARD" if target in manifest.plans else f"  next, on the machine with the GPU: {there}")
    return "\n".join(lines)


def _passed(gates: tuple[Gate, ...]) -> str:
    """``3 of 3``, and how many could not be run."""
    words = [gate.word() for gate in gates]
    return f"{words.count('ok')} of {len(words)}" + (f" ({words.count('--')} not run)" if "--" in words else "")


def _few(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A decoder has dozens of cache tensors of one shape: the first six tell."""
    return tensors[:6]
