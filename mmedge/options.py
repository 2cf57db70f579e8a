"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmedge import target as noun

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder that mmedge export wrote.", show_default=False)]
Target = Annotated[
    str | None,
    typer.Option("--target", "-t", metavar="TARGET", help="A name from mmedge targets, or a TOML file. [default: this machine's best]", show_default=False),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="TARGET",
        help="A name from mmedge targets, or a TOML file; may be repeated. [default: this machine's best]",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use only what is in the cache.")]
On = Annotated[
    str | None,
    typer.Option("--on", metavar="WHERE", help="Do it on a board that mmedge push delivered to: user@board, or user@board:folder.", show_default=False),
]
What = Annotated[
    str | None,
    typer.Argument(
        metavar="[WHAT]",
        help="A recipe (name or file), a checkpoint's folder, hf:owner/name@revision, pip:package==version, or file:path. [default: the assistant]",
        show_default=False,
    ),
]
Where = Annotated[
    str,
    typer.Argument(metavar="WHERE", help="user@board, or user@board:folder. [default folder: mmedge/NAME, in the home]", show_default=False),
]
TargetsOrAll = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="TARGET",
        help="A name from mmedge targets, or a TOML file; may be repeated; 'all' is every one that can run here. [default: this machine's best]",
        show_default=False,
    ),
]
FarTarget = Annotated[
    str | None,
    typer.Option(
        "--target",
        "-t",
        metavar="TARGET",
        help="A target that mmedge knows there. [default: the best that it detects, of those that the bundle was made for]",
        show_default=False,
    ),
]
Health = Annotated[
    str | None,
    typer.Option(
        "--target", "-t", metavar="TARGET", help="For a health check: exit with status 2 where its preferred runtime cannot run here.", show_default=False
    ),
]
Bisect = Annotated[bool, typer.Option("--bisect", help="Instead, name the first graph, and in it the first layer, that drifts.")]
Rate = Annotated[
    str | None, typer.Option(metavar="RATE", help="Paced calls a second: 30, or poisson:30 for random gaps of that mean rate.", show_default=False)
]
Trtexec = Annotated[
    bool, typer.Option("--trtexec", help="Build TensorRT's engines with its program trtexec: for boards that have it, but not TensorRT's Python module.")
]
Rechoose = Annotated[
    bool, typer.Option("--rechoose", help="Measure all candidates of mmedge quantize that passed on this machine, and choose among them anew.")
]
Reports = Annotated[
    list[Path], typer.Argument(metavar="REPORT...", help="Files that mmedge profile --json wrote; the first is the baseline.", show_default=False)
]
MaxRegression = Annotated[
    float | None,
    typer.Option(metavar="PERCENT", help="Exit with status 3 if a time is really slower by more, even at the lower end of its interval.", show_default=False),
]
Data = Annotated[
    Path,
    typer.Option(
        metavar="DATA",
        help="A folder of samples, with metadata.csv, metadata.jsonl or a folder for each class; a .csv, .jsonl, .tar file.",
        show_default=False,
    ),
]
Role = Annotated[str | None, typer.Option(metavar="ROLE", help="The model to ask. [default: the one that fits the data]", show_default=False)]
TrainedRole = Annotated[
    str | None, typer.Option("--role", metavar="ROLE", help="The model to train. [default: the only one that the recipe trains]", show_default=False)
]
Task = Annotated[
    str | None,
    typer.Option(
        metavar="TASK", help="retrieval, classification, vqa, caption or transcription. [default: the first that fits model and data]", show_default=False
    ),
]
Split = Annotated[str | None, typer.Option(metavar="SPLIT", help="Only these samples, such as test, or validation+test.", show_default=False)]
Limit = Annotated[int | None, typer.Option(metavar="N", help="At most so many samples, drawn at random.", show_default=False)]
Seed = Annotated[int, typer.Option(metavar="N", help="Of the draw by --limit.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="NAME=COLUMN", help="Where the data's own name differs: text=caption_zh, audio=path; may be repeated.", show_default=False
    ),
]
Prompt = Annotated[str, typer.Option(metavar="TEXT", help="For classes that an image-text model compares: {} is where the name goes.")]
Normalizer = Annotated[str, typer.Option(metavar="NAME", help="Of transcripts, before they are compared: english, basic (any language), or none.")]
Metric = Annotated[str | None, typer.Option(metavar="NAME", help="Show this one alone; exit status 2 where the data do not give it.", show_default=False)]
Agreement = Annotated[bool, typer.Option("--agreement", help="Also run every graph in fp32, and say how far the answers agree.")]
Robustness = Annotated[bool, typer.Option("--robustness", help="Also with each input noisy and, where there are others, missing.")]
MaxUnreadable = Annotated[float, typer.Option(metavar="SHARE", min=0.0, max=1.0, help="Go on if at most this share of the samples cannot be read.")]
AnyWeights = Annotated[
    bool, typer.Option("--any-weights", help="Accept weights that do not match the architecture: make up what is missing, leave out what is extra.")
]

Out = Annotated[Path | None, typer.Option("--out", "-o", help="The bundle's folder. [default: NAME.bundle]", show_default=False)]
TrustCode = Annotated[bool, typer.Option("--trust-code", help="Run Python code that comes with the model, or the recipe's own module.")]
Judging = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DATA", help="Then quantize every model that these samples judge: as mmedge quantize does, by each target's goal.", show_default=False
    ),
]
Mode = Annotated[str, typer.Option(metavar="MODE", help="closed: the next call when the last has returned. paced: calls are due at --rate.")]
Seconds = Annotated[float, typer.Option(metavar="S", help="Measure each graph and verb for at least so long.")]
Html = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a page with figures: one file, nothing from the network.")]
Calibrating = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="What the model is judged on, and ranges are measured on: a folder of samples, with metadata.csv, metadata.jsonl or a folder for each class; "
        "a .csv, .jsonl, .tar file.",
        show_default=False,
    ),
]
Judge = Annotated[
    str | None, typer.Option(metavar="NAME", help="Judge by this metric. [default: the recipe's for this model, or the task's own]", show_default=False)
]
Ranges = Annotated[
    int,
    typer.Option(
        metavar="N", help="Measure the ranges of activations on at most so many samples: where there are as many, on those that --split or --limit leaves out."
    ),
]
Goal = Annotated[str | None, typer.Option(metavar="GOAL", help="What is chosen by: latency, size or balanced. [default: the target's]", show_default=False)]
MaxLatency = Annotated[float | None, typer.Option(metavar="MS", help="Choose for each graph only what runs it once in at most so long.", show_default=False)]
MinMetric = Annotated[
    float | None,
    typer.Option(metavar="VALUE", help="Choose only what keeps the metric at least so high; at most, of one that is better when lower.", show_default=False),
]
MaxMb = Annotated[
    float | None,
    typer.Option(metavar="MB", help="Choose so that the files of all the model's graphs, as they run, take at most so many megabytes.", show_default=False),
]
Slim = Annotated[bool, typer.Option("--slim", help="Keep only what was chosen, beside fp32. Other machines then have less to fall back on.")]
Trained = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe (name or file) with [models.ROLE.train].", show_default=False)]
Distilled = Annotated[Path, typer.Option("--out", "-o", help="Gets the checkpoint ROLE, ROLE.report.json, ROLE.curves.svg, and where trainings stand.")]
Fold = Annotated[str | None, typer.Option(metavar="SPLIT", help="Test on this fold of the recipe. [default: its first]", show_default=False)]
Seeds = Annotated[int, typer.Option(metavar="N", min=1, help="Train so often, each from another seed; the first is kept.")]
Unlabelled = Annotated[
    Path | None,
    typer.Option(metavar="DATA", help="Pictures without texts, for a student of pictures to learn what its teacher makes of them.", show_default=False),
]
Ablate = Annotated[bool, typer.Option("--ablate", help="Also train without each part of the recipe in turn.")]


def target_of(what: str | None, bundle: Path | None, report: Callable[[str], None], *, anew: bool = False) -> noun.Target:
    """The target that was named; else the best of this machine's, with a bundle of those that it is compiled for.

    Args:
        anew: the bundle is going to be compiled, see ``mmedge.target.pick``.

    Raises:
        MmedgeError: an unknown target; without one, there is no bundle.
    """
    from mmedge.bundle import Bundle
    from mmedge.target import Target, here, pick

    if what is not None:
        return Target.load(what)
    found = here()
    taken = pick(found, Bundle.open(bundle).manifest.engines, anew=anew) if bundle is not None else found[0]
    if taken != found[0]:
        report(f"target {taken.name}: the bundle was made for it, and not for this machine's best, {found[0].name}")
    return taken


def targets_of(whats: list[str] | None, bundle: Path | None, report: Callable[[str], None], *, anew: bool = False) -> list[noun.Target]:
    """As ``target_of``, of an option that may be repeated."""
    return [target_of(what, bundle, report, anew=anew) for what in whats or [None]]  # type: ignore[list-item]


def one_of(whats: list[str] | None, bundle: Path, report: Callable[[str], None]) -> noun.Target:
    """As ``target_of``, where an option that may be repeated must not be. Raises MmedgeError too: it was."""
    from mmedge.errors import MmedgeError

    if whats and len(whats) > 1:
        raise MmedgeError("--bisect looks at one target at a time", f"leave out all but --target {whats[0]}")
    return target_of(whats[0] if whats else None, bundle, report)


def named(targets: list[str] | None) -> list[str]:
    """Targets as another mmedge's command line takes them."""
    return [word for one in targets or () for word in ("--target", one)]
