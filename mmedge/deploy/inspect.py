"""What a bundle holds, where it runs, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

from mmedge.bundle import Bundle
from mmedge.manifest import Gate, Manifest, Tensor
from mmedge.runner import backend_names


def inspect(path: Path, *, gc: bool = False) -> tuple[Manifest, list[Path]]:
    """Read the manifest and verify every file it names.

    Args:
        gc: remove the files that no manifest names.

    Returns:
        The manifest, and the files that it does not name (now removed, if ``gc``).

    Raises:
        MmedgeError: the bundle is missing or damaged.
    """
    bundle = Bundle.open(path)
    for entry in bundle.manifest.files():
        bundle.file(entry)
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
            lines += [
                f"    {side} {tensor.name} {tensor.dtype} {list(tensor.shape)}"
                for side, tensors in (("in ", graph.inputs), ("out", graph.outputs))
                for tensor in _few(tensors)
            ]
        files = [*{graph.weights.path: graph.weights for graph in model.graphs.values() if graph.weights}.values(), *model.assets.values()]
        lines += [f"  {entry.path}  {entry.size_bytes / 1e6:.1f} MB" for entry in files]
    for target, placements in manifest.engines.items():
        lines += ["", f"on {target}:"]
        lines += [
            f"  {name}: {placed.backend} {placed.precision}{' (on the device)' if placed.state == 'on-device' else ''}: {placed.reason}"
            for name, placed in placements.items()
        ]
        lines += [f"  build plan: {file.path}" for file in manifest.plans.get(target, ())]
    for check, gates in manifest.gates.items():
        if not gates:  # nothing was traced: the model came as ONNX
            continue
        lines += ["", f"{check}: {_passed(gates)} gates passed"]
        lines += [f"  {gate.word():4} {gate.name}:{'' if gate.value is None else f' {gate.value}'} {gate.note}".rstrip() for gate in gates]
    return "\n".join(lines)


def summary(manifest: Manifest, path: Path) -> str:
    """What a build ends on: where each graph runs, and what is still to do where."""
    roles = ", ".join(f"{role} ({model.family})" for role, model in manifest.models.items())
    lines = [f"{path}: {roles}, {sum(file.size_bytes for file in manifest.files()) / 1e6:.0f} MB"]
    for target, placements in manifest.engines.items():
        waiting = [name for name, placed in placements.items() if placed.state == "on-device"]
        gates = manifest.gates.get(f"check {target}", ())
        if waiting:
            lines.append(f"{target}: the ONNX graphs are verified; engines are built on the device. There: mmedge compile {path.name} --target {target}")
            if plan := manifest.plans.get(target):
                lines.append(f"  build plan: {plan[0].path}, with a script for each TensorRT")
            if unknown := sorted({placed.backend for placed in placements.values()} - set(backend_names())):
                lines.append(f"  this version of mmedge builds no {unknown[0]} engines yet: there, compile takes the target's next backend")
        else:
            checked = f", {_passed(gates)} checks passed" if gates else ""
            lines.append(f"{target}: ready{checked}")
        lines += [f"  {name}: {placed.backend} {placed.precision}" for name, placed in placements.items()]
    return "\n".join(lines)


def _passed(gates: tuple[Gate, ...]) -> str:
    """``3 of 3``, and how many could not be run."""
    words = [gate.word() for gate in gates]
    return f"{words.count('ok')} of {len(words)}" + (f" ({words.count('--')} not run)" if "--" in words else "")


def _few(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A decoder has dozens of cache tensors of one shape: the first six tell."""
    return tensors[:6]
