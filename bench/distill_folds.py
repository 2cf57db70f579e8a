"""One role of a recipe trained on all of its folds, from several seeds: ``python bench/distill_folds.py stamps-clip --seeds 3``.

What was trained already is not trained again: killed, it goes on where it was. The results of all folds are pooled query by query, and what is compared is
compared on the same queries; writes bench/results/distill_RECIPE.md, or distill_RECIPE_ROLE.md of a role that is not the recipe's first.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import environment
import numpy as np

from mmedge.distill.distill import distill
from mmedge.distill.report import TRAINED, Distillation
from mmedge.evaluate.data import open_data
from mmedge.evaluate.debian import package
from mmedge.evaluate.metrics.bootstrap import Draft, Estimate, Metric, Samples, Values, measure, paired
from mmedge.evaluate.metrics.reduces import reduce_of
from mmedge.evaluate.stamps import PACKAGE, SHA256, VERSION, write_stamps
from mmedge.recipe import Recipe

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Asked:
    """A role that ``make bench`` trains, and its bars."""

    recipe: str
    role: str
    least: float = 0.0
    """Of the mean over folds and seeds."""
    above: tuple[str, float] | None = None
    """A control, and by how much to be better than it on the same queries, beyond chance."""


ASKED = [Asked("stamps-clip", "eyes", 0.48, ("conse", 0.06))]


def run(asked: Asked, data: Path, seeds: int) -> list[Distillation]:
    """A report of each fold."""
    training = Recipe.load(asked.recipe).models[asked.role].train
    assert training is not None
    made = []
    for fold in training.splits.folds or (training.splits.test,):
        out = environment.folder() / "distill" / asked.recipe / fold
        for role in filter(None, [_teacher(asked), asked.role]):
            say(f"{fold}: {role}")
            recipe, many = Recipe.load(asked.recipe), seeds
            if role != asked.role:
                recipe, many = _alone(recipe, role), 1
            found = distill(recipe, open_data(data), out, role=role, fold=fold if training.splits.folds else None, seeds=many, report=say)
        made.append(found)
        shutil.rmtree(out / asked.role)  # 100 MB; what the training wrote down to go on from stays
    return made


def _alone(recipe: Recipe, role: str) -> Recipe:
    """The recipe with no other row for this role: what others learn from is not measured again."""
    model = recipe.models[role]
    assert model.train is not None
    bare = model.model_copy(update={"train": model.train.model_copy(update={"controls": ()})})
    return recipe.model_copy(update={"models": {**recipe.models, role: bare}})


def _teacher(asked: Asked) -> str:
    """Another role of the recipe, which has to be trained on the same folds first."""
    recipe = Recipe.load(asked.recipe)
    training = recipe.models[asked.role].train
    assert training is not None
    named = training.teacher
    return named if named in recipe.models and recipe.models[named].train is not None else ""


def pooled(made: Sequence[Distillation], names: Sequence[str]) -> Samples:
    """The units of all folds, of one arm or of several, which are averaged: [units, arms x statistics]."""
    judged = made[0].judged
    matrices = [[np.array(one.statistics[one.figure(name, judged).rows or 0], np.float64) for name in names] for one in made]
    wide = max(matrix.shape[1] for of_fold in matrices for matrix in of_fold)
    rows = np.concatenate([np.concatenate([_widened(matrix, wide) for matrix in of_fold], axis=1) for of_fold in matrices])

    def averaged(weights: Values, rows: Values) -> Values:
        return np.mean([reduce_of(judged, part)(weights, part) for part in np.split(rows, len(names), axis=1)], axis=0)

    return Samples(rows, averaged)


def _widened(matrix: Values, wide: int) -> Values:
    return np.pad(matrix, ((0, 0), (0, wide - matrix.shape[1])), constant_values=np.nan)


def report(asked: Asked, made: Sequence[Distillation], seeds: int) -> tuple[list[str], bool]:
    """(the text, whether the bars are kept)."""
    judged = made[0].judged
    own = [arm.name for arm in made[0].arms if arm.kind in ("trained", "seed")]
    others = [arm.name for arm in made[0].arms if arm.name not in own]
    values = {name: [_value(one, name) for one in made] for name in (*own, *others)}
    means = [fmean(values[name]) for name in own]
    ours = _metric(judged, pooled(made, own))
    lines = [
        f"# {asked.recipe}, {asked.role}: {len(made)} folds, {seeds} seeds",
        "",
        environment.machine("mmedge", "torch", "transformers", "accelerate"),
        "",
        f"`python bench/distill_folds.py {asked.recipe} --role {asked.role} --seeds {seeds}`; data sha256 {made[0].fingerprint[:12]}. "
        f"{made[0].arms[0].parameters / 1e6:.2f} M parameters, {made[0].arms[0].trained_parameters / 1e6:.3f} M of them trained. "
        f"All of it took {sum(one.seconds for one in made):.0f} s where it had not been trained before.",
        "",
        f"`{judged}` by the fold that is tested on; the trained one is the mean of its seeds:",
        "",
        f"| fold | trained on | tested on | {TRAINED} | {' | '.join(others)} |",
        f"|---|---|---|---|{'---|' * len(others)}",
    ]
    for at, one in enumerate(made):
        row = [fmean(values[name][at] for name in own), *(values[name][at] for name in others)]
        lines.append(f"| {one.fold} | {one.train} | {one.test} | {' | '.join(f'{value:.3f}' for value in row)} |")
    lines += [f"| mean | | | {' | '.join(f'{value:.3f}' for value in (fmean(means), *(fmean(values[name]) for name in others)))} |", ""]
    if len(means) > 1:
        lines += [f"Mean over folds by seed: {', '.join(f'{value:.3f}' for value in means)}; deviation over seeds {stdev(means):.3f}.", ""]
    assert ours.estimate is not None
    lines += [f"All {ours.estimate.n} queries of all folds together, each answered by the model that was not trained on its fold:", ""]
    lines += [f"- {TRAINED}: {_interval(ours.estimate)}"]
    found = {}
    for name in others:
        theirs = _metric(judged, pooled(made, [name]))
        assert theirs.estimate is not None
        found[name] = paired(ours, theirs)
        lines.append(f"- {name}: {_interval(theirs.estimate)}; {TRAINED} less that {_interval(found[name], '+')}")
    bars, kept = _bars(asked, fmean(means), found)
    return [*lines, "", *bars], kept


def _bars(asked: Asked, mean: float, found: dict[str, Estimate]) -> tuple[list[str], bool]:
    kept, said = mean >= asked.least, [f"a mean of at least {asked.least}"]
    if asked.above is not None:
        name, least = asked.above
        kept = kept and found[name].value >= least and found[name].low > 0
        said.append(f"at least {least} above {name} on the same queries, and the interval above 0")
    return [f"Bars: {'; '.join(said)}: {'kept' if kept else 'MISSED'}."], kept


def _value(made: Distillation, arm: str) -> float:
    value = made.figure(arm, made.judged).value
    assert value is not None
    return value


def _metric(name: str, samples: Samples) -> Metric:
    return measure([Draft(name, samples)])[0]


def _interval(one: Estimate, sign: str = "") -> str:
    return f"{one.value:{sign}.3f} (95 %: {one.low:{sign}.3f} to {one.high:{sign}.3f})"


def stamps() -> Path:
    """Tux Paint's stamps, written once."""
    path = environment.folder() / "stamps"
    if not path.exists():
        write_stamps(package(PACKAGE, VERSION, SHA256, say), path)
    return path


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", help="only this one; else all that have bars")
    parser.add_argument("--role", help="of the recipe")
    parser.add_argument("--data", type=Path, help="what to train on; else Tux Paint's stamps, downloaded")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    chosen = [one for one in ASKED if arguments.recipe in (None, one.recipe) and arguments.role in (None, one.role)]
    if arguments.recipe and not chosen:
        trained = [name for name, model in Recipe.load(arguments.recipe).models.items() if model.train is not None]
        chosen = [Asked(arguments.recipe, arguments.role or trained[0])]
    held = []
    for asked in chosen:
        lines, kept = report(asked, run(asked, arguments.data or stamps(), arguments.seeds), arguments.seeds)
        print("\n".join(lines))
        first = next(name for name, model in Recipe.load(asked.recipe).models.items() if model.train is not None)
        name = f"distill_{asked.recipe}{'' if asked.role == first else f'_{asked.role}'}.md"
        (RESULTS / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        held.append(kept)
    return 0 if all(held) else 3


if __name__ == "__main__":
    sys.exit(main())
