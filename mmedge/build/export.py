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
from mmedge.bundle import Bundle
from mmedge.deploy.check import examine, raise_failed
from mmedge.deploy.compile import fits, place
from mmedge.errors import GateFailed
from mmedge.family import Allow, Exported, load_family
from mmedge.need import need
from mmedge.recipe import Model, Recipe
from mmedge.target import Scatter, Target

PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "openvino", "numpy", "tokenizers")


def export(recipe: Recipe, out: Path, targets: list[Target], *, offline: bool = False, allow: Allow = Allow(), report: Callable[[str], None]) -> Bundle:
    """Make every model of a recipe into verified ONNX graphs with golden data; compile and check them for each target; commit.

    Nothing of a former bundle at ``out`` changes before the last step, and nothing at all when a step fails.

    Raises:
        MmedgeError: a file cannot be had, a model cannot be exported, or a target cannot take the graphs.
        GateFailed: a graph does not compute what its module computes, or the check of a target failed.
    """
    with Bundle.writing(out, create=True) as bundle, bundle.scratch() as scratch:
        bundle.manifest = _make(bundle, recipe, scratch, {target.scatter for target in targets if target.scatter}, allow, offline, report)
        for target in targets:
            fits(bundle.manifest, target)
        for target in targets:
            bundle.manifest = place(bundle, target, report)
            bundle.manifest = examine(bundle, target, report)
            raise_failed(bundle.manifest, target)
        bundle.commit()
        return bundle


def _make(
    bundle: Bundle, recipe: Recipe, scratch: Path, scatters: set[Scatter], allow: Allow, offline: bool, report: Callable[[str], None]
) -> manifest.Manifest:
    models: dict[str, manifest.Model] = {}
    gates: list[manifest.Gate] = []
    for role, model in recipe.models.items():
        report(f"{role}: fetching the checkpoint")
        folder = load.checkpoint(model, offline=offline, trace=report, allow=allow)
        gates += load.gates(role, folder)
        report(f"{role}: exporting the {model.family} model")
        models[role] = _export_model(bundle, role, model, folder, scratch, scatters, allow, gates)
    return manifest.Manifest(
        name=recipe.name,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        models=models,
        media=golden.store_media(bundle),
        gates={"export": tuple(gates)},
        provenance=_provenance(recipe, allow),
    )


def _export_model(
    bundle: Bundle, role: str, model: Model, folder: Path, scratch: Path, scatters: set[Scatter], allow: Allow, gates: list[manifest.Gate]
) -> manifest.Model:
    kind = load_family(model.family)
    if kind.ARCHITECTURES:
        _hush_transformers()
    options = _options(role, model, kind)
    with contextlib.redirect_stdout(sys.stderr):  # what a model's own code prints is no part of --json's one document
        exported: Exported = load_family(model.family, "export").export(folder, options, golden.media(), allow)
    _complete(role, exported, kind)
    written = write_graphs(bundle, role, exported.graphs, scatters, scratch)
    gates += written.gates
    packed, cases = golden.pack(written.recorded, exported.cases)
    return manifest.Model(
        family=model.family,
        config=exported.config.model_dump(mode="json"),
        graphs=written.entries,
        assets={name: bundle.add(role, name, content) for name, content in exported.assets.items()},
        golden=bundle.add(role, "golden.npz", packed),
        cases=cases,
        sources=load.sources(model, folder),
    )


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
        "recipe": recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    }
