"""Every command: its signature, its help, one call. Whatever is heavy is imported inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mmedge import commands, options
from mmedge.exits import run_program
from mmedge.output import progress as _progress
from mmedge.output import show as _show

app = typer.Typer(
    help="A trained multimodal model, on a small computer with a camera and a microphone.",
    epilog="Start with: mmedge demo",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def demo(
    target: options.Target = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the answers, turns.jsonl and report.json go.")] = Path("demo"),
    offline: options.Offline = False,
    as_json: options.Json = False,
) -> None:
    """Ask the shipped assistant about photographs, and time it.

    Builds it for this machine, speaks questions into the path of the microphone, shows photographs to the path of the camera,
    and times the spoken answers.
    """
    commands.run_demo(out, target, offline, as_json)


@app.command()
def export(
    what: options.What = None,
    target: options.Targets = None,
    out: options.Out = None,
    trust_code: options.TrustCode = False,
    any_weights: options.AnyWeights = False,
    data: options.Judging = None,
    split: options.Split = None,
    limit: options.Limit = None,
    offline: options.Offline = False,
    as_json: options.Json = False,
) -> None:
    """Make a trained model into a verified bundle for its targets.

    Exports every graph to ONNX, proves each equal to its torch module, compiles what can be compiled here, and checks the result.
    Example: mmedge export --target jetson
    """
    from mmedge.family import Allow
    from mmedge.optimize.asked import hold_selection

    hold_selection(data, split, limit)
    samples = commands.samples_of(data, split, limit, 0, None) if data else None
    commands.export_bundle(what, out, target, Allow(code=trust_code, weights=any_weights), samples, offline, as_json)


@app.command()
def distill(
    recipe: options.Trained,
    data: options.Data,
    out: options.Distilled = Path("distilled"),
    role: options.TrainedRole = None,
    fold: options.Fold = None,
    seeds: options.Seeds = 1,
    ablate: options.Ablate = False,
    unlabelled: options.Unlabelled = None,
    column: options.Columns = None,
    html: options.Html = None,
    offline: options.Offline = False,
    as_json: options.Json = False,
) -> None:
    """Train a recipe's model on your data.

    Writes a checkpoint that mmedge export takes, and says how good it is beside what needs no training. Run again, it goes on where it was.
    Several processes: accelerate launch -m mmedge distill ..., or on CPUs torchrun --nproc-per-node N -m mmedge distill ...
    Example: mmedge distill stamps-clip --data stamps -o trained && mmedge export trained/eyes --target cpu
    """
    samples = commands.samples_of(data, None, None, 0, column)
    more = commands.samples_of(unlabelled, None, None, 0, None) if unlabelled is not None else None
    commands.distill_recipe(recipe, samples, out, role, fold, seeds, ablate, more, html, offline, as_json)


@app.command()
def compile(
    bundle: options.Bundle,
    target: options.Targets = None,
    trtexec: options.Trtexec = False,
    rechoose: options.Rechoose = False,
    on: options.On = None,
    as_json: options.Json = False,
) -> None:
    """Compile a bundle for a target.

    Places every graph on a backend of the target: among several candidates, the fastest of those that hold the golden bound. What mmedge
    quantize chose stays, where this machine has what it rests on.
    """
    commands.compile_bundle(bundle, target, trtexec, rechoose, on, as_json)


@app.command()
def check(bundle: options.Bundle, target: options.Targets = None, bisect: options.Bisect = False, on: options.On = None, as_json: options.Json = False) -> None:
    """Hold a bundle against its golden data.

    Processors, graphs and answers, on the target's runtime. Exit status 3 if anything differs.
    """
    commands.check_bundle(bundle, target, bisect, on, as_json)


@app.command(name="eval")
def evaluate(
    bundle: options.Bundle,
    data: options.Data,
    target: options.Target = None,
    role: options.Role = None,
    task: options.Task = None,
    split: options.Split = None,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    column: options.Columns = None,
    prompt: options.Prompt = "{}",
    normalizer: options.Normalizer = "english",
    metric: options.Metric = None,
    agreement: options.Agreement = False,
    robustness: options.Robustness = False,
    max_unreadable: options.MaxUnreadable = 0.01,
    as_json: options.Json = False,
) -> None:
    """Measure how good a model is at its task.

    Asks about every sample of your data, one at a time, as it would be used, and gives each figure with its 95 % interval.
    Example: mmedge eval assistant-mini.bundle --data pictures --role eyes
    """
    from mmedge.evaluate.asked import setting
    from mmedge.evaluate.eval import Extent

    samples = commands.samples_of(data, split, limit, seed, column)
    how, extent = setting(prompt, normalizer), Extent(agreement, robustness, max_unreadable)
    commands.evaluate_bundle(bundle, target, samples, role, task, how, extent, metric, as_json)


@app.command()
def quantize(
    bundle: options.Bundle,
    target: options.Target = None,
    data: options.Calibrating = None,
    role: options.Role = None,
    task: options.Task = None,
    split: options.Split = None,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    column: options.Columns = None,
    prompt: options.Prompt = "{}",
    normalizer: options.Normalizer = "english",
    metric: options.Judge = None,
    samples: options.Ranges = 300,
    goal: options.Goal = None,
    max_latency_ms: options.MaxLatency = None,
    min_metric: options.MinMetric = None,
    max_mb: options.MaxMb = None,
    slim: options.Slim = False,
    max_unreadable: options.MaxUnreadable = 0.01,
    html: options.Html = None,
    as_json: options.Json = False,
) -> None:
    """Make a model smaller and faster, as far as your data allow.

    Makes every candidate of the target, refuses those that lose more of the task's metric than the model's gate allows, times the others
    against fp32 on this machine, and has each graph run as the best of them. What was done already is not done again.
    Example: mmedge quantize assistant-mini.bundle --target intel-cpu --data pictures --role eyes
    """
    from mmedge.evaluate.asked import setting
    from mmedge.optimize.asked import budget_of, data_of, goal_of
    from mmedge.optimize.quantize import Asked, Wanted

    found = commands.samples_of(data_of(data), split, limit, seed, column)
    asked = Asked(role, task, setting(prompt, normalizer), metric, samples, max_unreadable)
    wanted = Wanted(goal_of(goal), budget_of(max_latency_ms, min_metric, max_mb), slim)
    commands.quantize_bundle(bundle, target, found, asked, wanted, html, as_json)


@app.command()
def profile(
    bundle: options.Bundle,
    target: options.TargetsOrAll = None,
    mode: options.Mode = "closed",
    rate: options.Rate = None,
    seconds: options.Seconds = 3.0,
    html: options.Html = None,
    on: options.On = None,
    as_json: options.Json = False,
) -> None:
    """Measure every graph, verb and turn, start-up and memory.

    Several targets are measured one after the other, each in a process of its own. A latency in paced mode counts from the moment a call was due.
    Example: mmedge profile assistant-mini.bundle --target all --html profile.html
    """
    from mmedge.profile.asked import rules

    commands.profile_bundle(bundle, target, rules(mode, rate, seconds), html, on, as_json)


@app.command()
def compare(reports: options.Reports, max_regression: options.MaxRegression = None, as_json: options.Json = False) -> None:
    """Hold reports against each other: targets, precisions, versions or days.

    Rows are matched by level and name. Where a file has several targets, each is held against the same target of the first file, or
    else against its first; one such file alone: against its first target. A sentence is printed for each difference that is real: the
    95 % interval of the ratio excludes 1, and it is more than fresh processes of one report differ by. Memory is compared too,
    but not held to --max-regression.
    Example: mmedge compare before.json after.json --max-regression 5
    """
    from mmedge.profile.compare import compare, hold, table

    made = compare(reports, max_regression)
    commands.show_and_hold(made, as_json, table(made), lambda: hold(made))


@app.command()
def push(
    bundle: options.Bundle,
    where: options.Where,
    target: options.FarTarget = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Instead, make the release live again that was so before.")] = False,
    as_json: options.Json = False,
) -> None:
    """Deliver a bundle to a board, and switch over to it.

    Over ssh and rsync, with your keys: uploads what is not there yet, verifies it, compiles and checks it with the board's own mmedge,
    then moves the link FOLDER/current. Whatever fails, what was live stays live. Only the last three releases are kept.
    Example: mmedge push assistant-mini.bundle me@board --target jetson
    """
    commands.push_bundle(bundle, where, target, rollback, as_json)


@app.command()
def run(
    bundle: options.Bundle,
    target: options.Target = None,
    mic: Annotated[str, typer.Option(metavar="SOURCE", help="A sound file, a microphone's name, or 'default'.")] = "default",
    camera: Annotated[str, typer.Option(metavar="SOURCE", help="A picture, a folder of pictures, a video, a camera (0, /dev/video0), or 'none'.")] = "0",
    speaker: Annotated[str, typer.Option(metavar="SINK", help="A WAV file to write, a loudspeaker's name, 'default', or 'none'.")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line a turn on stdout, then a summary line.")] = False,
) -> None:
    """Listen, look and answer, until the sound ends or Ctrl-C.

    Example: mmedge run assistant-mini.bundle --mic question.wav --camera picture.png --speaker answer.wav --json
    """
    from mmedge.assistant.run import run

    run(bundle, options.target_of(target, bundle, _progress), mic=mic, camera=camera, speaker=speaker, as_json=as_json)


@app.command()
def targets(as_json: options.Json = False) -> None:
    """List the boards and chips that mmedge knows."""
    from mmedge.target import targets

    made = targets()
    _show(made, as_json, made.text())


@app.command()
def recipes(as_json: options.Json = False) -> None:
    """List the recipes that mmedge ships."""
    from mmedge.recipe import recipes

    made = recipes()
    _show(made, as_json, "\n".join(f"{recipe.name:16} {recipe.summary}" for recipe in made.recipes))


@app.command()
def doctor(target: options.Health = None, as_json: options.Json = False) -> None:
    """Say what this machine can do, and what to install for more."""
    commands.examine_machine(target, as_json)


@app.command()
def inspect(
    bundle: options.Bundle,
    gc: Annotated[bool, typer.Option("--gc", help="Remove files that the manifest does not name.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show what a bundle holds, and whether it is whole.

    Its models, where each graph runs and why, and every gate's result.
    """
    commands.inspect_bundle(bundle, gc, as_json)


def main() -> NoReturn:
    """The program."""
    run_program(app)
