"""Where the model lies that another one of the same recipe learns from."""

from __future__ import annotations

from pathlib import Path

from mmedge import cache
from mmedge.build import load
from mmedge.distill.report import Distillation
from mmedge.distill.samples import Parts
from mmedge.documents import read_json
from mmedge.errors import MmedgeError
from mmedge.recipe import Recipe
from mmedge.training import Training


def teacher_of(recipe: Recipe, role: str, training: Training, data: str, out: Path, its: Parts, *, offline: bool, report: cache.Trace) -> Path:
    """The folder of the teacher's checkpoint.

    Args:
        data: as the user names it, for the command that a message holds.

    Raises:
        MmedgeError: the recipe has no such role, it was not distilled yet, or it was trained on what is tested on now.
    """
    name = training.teacher
    if name == role or name not in recipe.models:
        others = [one for one in recipe.models if one != role]
        raise MmedgeError(f"the recipe {recipe.name} has no other role {name!r} for {role} to learn from", f"use one of: {', '.join(others)}")
    model = recipe.models[name]
    if model.train is None:
        return load.checkpoint(model, offline=offline, trace=report)
    fold = f" --fold {its.fold}" if model.train.splits.folds else ""
    command = f"mmedge distill {recipe.name} --data {data} -o {out} --role {name}{fold}"
    if not (out / name / "config.json").is_file():
        raise MmedgeError(f"{role} learns from {name}, and there is no {out / name}", f"distill it first: {command}")
    told = read_json(out / f"{name}.report.json", Distillation, fix=f"distill it again: {command}")
    if told.fold != its.fold:
        raise MmedgeError(f"{out / name} was tested on {told.fold}, and has been trained on {its.fold}", f"distill it again: {command}; or use another folder")
    return out / name
