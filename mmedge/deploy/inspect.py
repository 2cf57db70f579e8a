"""What a bundle holds, where it runs, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

from mmedge.bundle import Bundle
from mmedge.manifest import Manifest, Tensor


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
    lines = [f"{manifest.name}, made {manifest.created} by mmedge {manifest.provenance.get('mmedge', '?')}"]
    for role, model in manifest.models.items():
        lines += ["", f"{role}: {model.family}"]
        for graph in model.graphs.values():
            lines.append(f"  {graph.file.path}  {graph.file.size_bytes / 1e6:.1f} MB  opset {graph.opset}")
            lines += [
                f"    {side} {tensor.name} {tensor.dtype} {list(tensor.shape)}"
                for side, tensors in (("in ", graph.inputs), ("out", graph.outputs))
                for tensor in _few(tensors)
            ]
        lines += [f"  {entry.path}  {entry.size_bytes / 1e6:.1f} MB" for entry in model.assets.values()]
    for target, placements in manifest.engines.items():
        lines += ["", f"on {target}:"]
        lines += [
            f"  {name}: {placed.backend} {placed.precision}{' (on the device)' if placed.state == 'on-device' else ''}: {placed.reason}"
            for name, placed in placements.items()
        ]
    for check, gates in manifest.gates.items():
        failed = [gate for gate in gates if not gate.passed]
        lines += ["", f"{check}: {len(gates) - len(failed)} of {len(gates)} gates passed"]
        lines += [f"  {'ok  ' if gate.passed else 'FAIL'} {gate.name}: {gate.value if gate.value is not None else ''} {gate.note}".rstrip() for gate in gates]
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
        else:
            checked = f", {sum(gate.passed for gate in gates)} of {len(gates)} checks passed" if gates else ""
            lines.append(f"{target}: ready{checked}")
        lines += [f"  {name}: {placed.backend} {placed.precision}" for name, placed in placements.items()]
    return "\n".join(lines)


def _few(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A decoder has dozens of cache tensors of one shape: the first six tell."""
    return tensors[:6]
