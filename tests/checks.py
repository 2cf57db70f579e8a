"""What every family's tests do with a small checkpoint: export it, hold its graphs against golden data on a runtime, break it and see the check fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from mmedge.build.export import export
from mmedge.bundle import LOCK, Bundle
from mmedge.deploy.check import check
from mmedge.deploy.compile import compile
from mmedge.evaluate.drift import drift
from mmedge.evaluate.golden import Golden
from mmedge.recipe import Model, Recipe
from mmedge.runner import Candidate, Engine, load_backend
from mmedge.target import Target


def export_folder(folder: Path, out: Path, family: str, *targets: str, **options: object) -> Bundle:
    """A bundle of one model, whose role is the family's name; compiled and checked for ``targets`` (``cpu`` where none is given)."""
    recipe = Recipe(name="small", models={family: Model(family=family, folder=str(folder), options=options)})
    return export(recipe, out, [Target.load(name) for name in targets or ("cpu",)], report=lambda line: None)


def compiled(bundle: Bundle, out: Path, *targets: str | Target) -> Bundle:
    """A copy of a bundle, compiled and checked for ``targets``: what an export for them gives, without exporting again."""
    shutil.copytree(bundle.path, out, ignore=shutil.ignore_patterns(LOCK))
    for target in targets:
        made = Target.load(target) if isinstance(target, str) else target
        compile(out, made, lambda line: None)
        check(out, made, lambda line: None)
    return Bundle.open(out)


def graph_drift(bundle: Bundle, role: str, name: str, backend: str) -> float:
    """How far a graph is from its golden outputs on a backend in float32, as a fraction of the bound."""
    target = Target.load("intel-cpu" if backend == "openvino" else "cpu")
    feeds, reference = Golden(bundle, role).graph(name)
    with load_backend(backend).open(Engine(Candidate(bundle.graph(role, name), "fp32")), target) as runner:
        return drift(runner.run(feeds), reference, "fp32")[0]


def distinct(results: list[object]) -> bool:
    """Whether no two results are equal: five inputs must give five different outputs, or parity proves nothing."""
    return len({repr(np.asarray(one).tolist()) for one in results}) == len(results)


def on_one_thread() -> None:
    """Small models are slower on two threads than on one."""
    torch.set_num_threads(1)
