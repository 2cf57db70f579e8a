"""What a command does once it is asked, where that is more than one call: here or on a board, one target or several, with a page or without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mmedge import options
from mmedge.errors import GATE
from mmedge.output import progress, show

if TYPE_CHECKING:
    from pydantic import BaseModel

    from mmedge.evaluate.data import Data
    from mmedge.evaluate.eval import Extent
    from mmedge.evaluate.tasks import Setting
    from mmedge.family import Allow
    from mmedge.optimize.quantize import Asked, Wanted
    from mmedge.profile.report import Profiles, Report, Rules

Opening = Callable[[], "Data"]
"""Opens the data that were named, once there is a bundle to use them for."""


def export_bundle(what: str | None, out: Path | None, targets: list[str] | None, allow: Allow, data: Opening | None, offline: bool, as_json: bool) -> None:
    """And, with data, quantize every model that they judge, for each target, and check the result again."""
    from mmedge.build.export import export
    from mmedge.build.load import recipe_for
    from mmedge.bundle import Bundle
    from mmedge.deploy.check import check
    from mmedge.deploy.inspect import summary
    from mmedge.optimize.quantize import quantize_all
    from mmedge.optimize.quantized import table
    from mmedge.optimize.work import hold_target

    recipe, aims = recipe_for(what, offline=offline, trace=progress), options.targets_of(targets, None, progress)
    samples = data() if data else None
    for target in aims if samples else ():
        hold_target(target)
    bundle = export(recipe, out or Path(f"{recipe.name}.bundle"), aims, offline=offline, allow=allow, report=progress)
    found = [table(quantize_all(bundle.path, target, samples, progress)) for target in aims] if samples else []
    for target in aims if samples else ():
        check(bundle.path, target, progress)
    manifest = Bundle.open(bundle.path).manifest
    show(manifest, as_json, "\n\n".join([*found, summary(manifest, bundle.path)]))


def run_demo(out: Path, target: str | None, offline: bool, as_json: bool) -> None:
    from mmedge.demo import demo
    from mmedge.profile.table import table

    made = demo(out, options.target_of(target, None, progress), offline=offline, report=progress, show=None if as_json else print)
    show(made, as_json, table(made))


def distill_recipe(
    what: str,
    data: Opening,
    out: Path,
    role: str | None,
    fold: str | None,
    seeds: int,
    ablate: bool,
    unlabelled: Opening | None,
    html: Path | None,
    offline: bool,
    as_json: bool,
) -> None:
    from mmedge.need import need
    from mmedge.profile.asked import check_page
    from mmedge.recipe import Recipe

    recipe, samples = Recipe.load(what), data()
    if html:
        check_page(html)
    for package, extra in (("torch", "build"), ("transformers", "build"), ("accelerate", "distill")):
        need(package, extra=extra)
    from mmedge.distill.distill import distill
    from mmedge.distill.report import table

    more = unlabelled() if unlabelled is not None else None
    made = distill(recipe, samples, out, role=role, fold=fold, seeds=seeds, ablate=ablate, unlabelled=more, offline=offline, report=progress)
    if html:
        from mmedge.distill.page import write_page

        write_page(made, html)
    show(made, as_json, table(made))


def compile_bundle(bundle: Path, targets: list[str] | None, trtexec: bool, rechoose: bool, on: str | None, as_json: bool) -> None:
    from mmedge.backends.tensorrt.trtexec import asked
    from mmedge.deploy.compile import compile
    from mmedge.deploy.inspect import summary

    if on is not None:
        return _on(bundle, on, ["compile", *(["--trtexec"] if trtexec else []), *(["--rechoose"] if rechoose else [])], targets, as_json)
    for one in options.targets_of(targets, bundle, progress, anew=True):
        made = compile(bundle, asked(one) if trtexec else one, progress, anew=rechoose)
    show(made.manifest, as_json, summary(made.manifest, made.path))


def check_bundle(bundle: Path, targets: list[str] | None, bisect: bool, on: str | None, as_json: bool) -> None:
    from mmedge.deploy.check import check
    from mmedge.deploy.inspect import summary

    if bisect:
        return _bisect(bundle, targets, on, as_json)
    if on is not None:
        return _on(bundle, on, ["check"], targets, as_json)
    for one in options.targets_of(targets, bundle, progress):
        made = check(bundle, one, progress)
    show(made.manifest, as_json, summary(made.manifest, made.path))


def _bisect(bundle: Path, targets: list[str] | None, on: str | None, as_json: bool) -> None:
    from mmedge.deploy.bisect import Bisection, bisect, describe, drifted
    from mmedge.deploy.on import run_on

    asked = ["check", *options.named(targets), "--bisect"]
    made = run_on(bundle, on, asked, (Bisection,), progress) if on is not None else bisect(bundle, options.one_of(targets, bundle, progress), progress)
    show(made, as_json, describe(made))
    if made.drifts:
        raise typer.Exit(GATE) if as_json else drifted(made)


def _on(bundle: Path, on: str, command: list[str], targets: list[str] | None, as_json: bool) -> None:
    """Done on a board."""
    from mmedge.deploy.inspect import summary
    from mmedge.deploy.on import run_on
    from mmedge.manifest import Manifest

    made = run_on(bundle, on, [*command, *options.named(targets)], (Manifest,), progress)
    show(made, as_json, summary(made, Path(on)))


def show_and_hold(made: BaseModel, as_json: bool, text: str, hold: Callable[[], None]) -> None:
    """The text even where ``hold`` refuses what was made; as JSON, stdout then has the refusal alone."""
    if not as_json:
        show(made, as_json, text)
    hold()
    if as_json:
        show(made, as_json, "")


def samples_of(data: Path, split: str | None, limit: int | None, seed: int, columns: list[str] | None) -> Opening:
    from mmedge.evaluate.asked import pairs
    from mmedge.evaluate.data import open_data

    named = pairs(columns)
    return lambda: open_data(data, split=split, limit=limit, seed=seed, columns=named)


def evaluate_bundle(
    bundle: Path, target: str | None, data: Opening, role: str | None, task: str | None, how: Setting, extent: Extent, metric: str | None, as_json: bool
) -> None:
    from mmedge.bundle import Bundle
    from mmedge.evaluate.eval import evaluate
    from mmedge.evaluate.table import table

    opened, aim = Bundle.open(bundle), options.target_of(target, bundle, progress)
    found = evaluate(opened, aim, data(), role, task, how, extent, progress)
    found.document.hold(metric)
    show(found.document, as_json, table(found.document, metric))


def quantize_bundle(bundle: Path, target: str | None, data: Opening, asked: Asked, wanted: Wanted, html: Path | None, as_json: bool) -> None:
    from mmedge.bundle import Bundle
    from mmedge.optimize.quantize import quantize
    from mmedge.optimize.quantized import table
    from mmedge.profile.asked import check_page

    Bundle.open(bundle)
    aim = options.target_of(target, bundle, progress)
    if html:
        check_page(html)
    made = quantize(bundle, aim, data(), asked, wanted, progress)
    if html:
        from mmedge.profile.page import write_pareto

        write_pareto(made.bundle, made.target, made.models, html)
    show(made, as_json, table(made))


def profile_bundle(bundle: Path, targets: list[str] | None, how: Rules, html: Path | None, on: str | None, as_json: bool) -> None:
    from mmedge.profile.asked import check_page
    from mmedge.profile.table import table

    if html:
        check_page(html)
    made = _profiled(bundle, targets, how, on)
    if html:
        from mmedge.profile.page import write_page
        from mmedge.profile.rows import not_run_of, reports_of

        write_page(reports_of(made), html, not_run_of(made))
    show(made, as_json, table(made))


def _profiled(bundle: Path, targets: list[str] | None, how: Rules, on: str | None) -> Report | Profiles:
    """On a board, several targets in a process each, or here."""
    from mmedge.assistant.profile import profile
    from mmedge.deploy.on import run_on
    from mmedge.profile.asked import words
    from mmedge.profile.report import Profiles, Report
    from mmedge.profile.targets import profile_each, several

    if on is not None:
        kinds: tuple[type[Report | Profiles], ...] = (Report, Profiles)
        return run_on(bundle, on, ["profile", *options.named(targets), *words(how)], kinds, progress)
    if targets and several(targets):
        return profile_each(bundle, targets, how, progress)
    return profile(bundle, options.target_of(targets[0] if targets else None, bundle, progress), how, progress)


def push_bundle(bundle: Path, where: str, target: str | None, rollback: bool, as_json: bool) -> None:
    from mmedge.deploy import push as verb

    made = verb.rollback(bundle, where, progress) if rollback else verb.push(bundle, where, target, progress)
    show(made, as_json, verb.describe(made))


def examine_machine(target: str | None, as_json: bool) -> None:
    from mmedge.deploy.doctor import asked, doctor, hold, table

    wanted = None if target is None else asked(target)
    made = doctor()
    show_and_hold(made, as_json, table(made), lambda: None if wanted is None else hold(wanted))


def inspect_bundle(bundle: Path, gc: bool, as_json: bool) -> None:
    from mmedge.deploy.inspect import describe, inspect

    manifest, orphans = inspect(bundle, gc=gc)
    for orphan in orphans:
        progress(f"{'removed' if gc else 'not named by the manifest'}: {orphan}")
    show(manifest, as_json, describe(manifest))
