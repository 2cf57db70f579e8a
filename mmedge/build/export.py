"""Source -> ONNX, proven -> bundle."""

from __future__ import annotations

import contextlib
import datetime
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import mmedge
from mmedge import manifest
from mmedge.build import golden, load
from mmedge.build.graphs import write_graphs
from mmedge.build.trace import MAX_IR, OPSET
from mmedge.bundle import Bundle
from mmedge.deploy.check import examine, raise_failed
from mmedge.deploy.compile import fits, place
from mmedge.deploy.ranges import Range
from mmedge.errors import GateFailed, MmedgeError
from mmedge.evaluate.recorded import pack
from mmedge.family import Allow, Exported, TorchGraph, load_family
from mmedge.need import need
from mmedge.recipe import Model, Recipe
from mmedge.runner import hold_options
from mmedge.target import Target

Report = Callable[[str], None]

PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "openvino", "numpy", "tokenizers")


def export(recipe: Recipe, out: Path, targets: list[Target], *, offline: bool = False, allow: Allow = Allow(), report: Report) -> Bundle:
    """Make every model of a recipe into verified ONNX graphs with golden data; compile and check them for each target; commit.

    Nothing of a former bundle at ``out`` changes before the last step, and nothing at all when a step fails.

    Raises:
        MmedgeError: a model is still to be trained, a file cannot be had, a model cannot be exported, or a target cannot take the graphs.
        GateFailed: a graph does not compute what its module computes, or the check of a target failed.
    """
    for role, model in recipe.models.items():
        if model.train is not None:
            raise MmedgeError(
                f"{role} of {recipe.name} is still to be trained", f"mmedge distill {recipe.name} --data DATA -o trained; then mmedge export trained/{role}"
            )
    for target in targets:
        hold_options(target)
    with Bundle.writing(out, create=True) as bundle, bundle.scratch() as scratch:
        bundle.manifest = _make(bundle, recipe, scratch, targets, allow, offline, report)
        for target in targets:
            fits(bundle.manifest, target)
        for target in targets:
            bundle.manifest = place(bundle, target, report)
            bundle.manifest = examine(bundle, target, report)
            raise_failed(bundle.manifest, target)
        bundle.commit()
        return bundle


def _make(bundle: Bundle, recipe: Recipe, scratch: Path, targets: list[Target], allow: Allow, offline: bool, report: Report) -> manifest.Manifest:
    models: dict[str, manifest.Model] = {}
    gates: list[manifest.Gate] = []
    for role, model in recipe.models.items():
        if load_family(model.family).ARCHITECTURES or model.family == load.AUTO:
            _writable(role, targets)
        report(f"{role}: fetching the checkpoint")
        folder = load.checkpoint(model, offline=offline, trace=report, allow=allow)
        gates += load.gates(role, folder)
        report(f"{role}: exporting the {model.family} model")
        models[role] = _export_model(bundle, role, model, folder, scratch, targets, allow, gates, report)
    return manifest.Manifest(
        name=recipe.name,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        models=models,
        media=golden.store_media(bundle),
        gates={"export": tuple(gates)},
        provenance=_provenance(recipe, allow),
    )


def _export_model(
    bundle: Bundle, role: str, model: Model, folder: Path, scratch: Path, targets: list[Target], allow: Allow, gates: list[manifest.Gate], report: Report
) -> manifest.Model:
    kind = load_family(model.family)
    if kind.ARCHITECTURES:
        _hush_transformers()
    options = _options(role, model, kind)
    with contextlib.redirect_stdout(sys.stderr):  # what a model's own code prints is no part of --json's one document
        exported: Exported = load_family(model.family, "export").export(folder, options, golden.media(), allow)
        _complete(role, exported, kind)
        if any(isinstance(graph, TorchGraph) for graph in exported.graphs.values()):
            _writable(role, targets)
        gates += _missing_verbs(role, getattr(kind, "lacks", lambda config: {})(exported.config), report)
        ranges: dict[str, Range] = getattr(kind, "ranges", lambda config: {})(exported.config)
        written = write_graphs(bundle, role, exported.graphs, {target.scatter for target in targets if target.scatter}, scratch, ranges)
    gates += written.gates
    packed, cases = pack(written.recorded, exported.cases)
    return manifest.Model(
        family=model.family,
        config=exported.config.model_dump(mode="json"),
        graphs=written.entries,
        assets={name: bundle.add(role, name, content) for name, content in exported.assets.items()},
        golden=bundle.add(role, "golden.npz", packed),
        cases=cases,
        sources=load.sources(model, folder),
        gate=model.gate,
    )


def _writable(role: str, targets: list[Target]) -> None:
    """Raises MmedgeError: a target's runtimes read nothing that torch's exporter can write."""
    for target in targets:
        if target.max_opset < OPSET or target.max_ir < MAX_IR:
            raise MmedgeError(
                f"{target.name} takes up to opset {target.max_opset}, IR {target.max_ir}; {role} is written in opset {OPSET}, IR {MAX_IR}",
                "leave that target out, or give it a newer runtime and say so in its max_opset and max_ir",
            )


def _missing_verbs(role: str, lacks: dict[str, tuple[str, ...]], report: Report) -> list[manifest.Gate]:
    """What cannot be asked of the model, because its checkpoint came without what turns words, pictures or sounds into numbers."""
    for part, verbs in lacks.items():
        report(f"{role}: the checkpoint has no {part}: its graphs are made, but there is no {' and no '.join(verbs)}")
    return [
        manifest.Gate(name=f"verb {role}.{verb}", passed=True, note=f"not there: the checkpoint has no {part}")
        for part, verbs in lacks.items()
        for verb in verbs
    ]


def _hush_transformers() -> None:
    """Its bars and advice are about calls that the user did not make."""
    settings = need("transformers.utils.logging", extra="build")
    settings.set_verbosity_error()
    settings.disable_progress_bar()


def _options(role: str, model: Model, kind: Any) -> Any:
    from mmedge.documents import validate

    return validate(model.settings(), kind.Options, f"recipe: models.{role}.options")


def _complete(role: str, exported: Exported, kind: Any) -> None:
    """A family states what it must yield; an export that lacks a part of it is none."""
    for what, wanted, found in (("graph", kind.graphs(exported.config), exported.graphs), ("asset", kind.assets(exported.config), exported.assets)):
        if missing := sorted(set(wanted) - set(found)):
            raise GateFailed(f"the export of {role} lacks its {what} {missing[0]}", "the checkpoint is incomplete: get all of its files")
        if surplus := sorted(set(found) - set(wanted)):
            raise ValueError(f"the family of {role} yields {what} {surplus[0]} without declaring it")


def _provenance(recipe: Recipe, allow: Allow) -> dict[str, Any]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "mmedge": mmedge.__version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "packages": found,
        "allowed": [flag for flag, given in (("--trust-code", allow.code), ("--any-weights", allow.weights)) if given],
        "accepted": allow.accepted,
        "recipe": recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    }
