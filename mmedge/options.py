"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    typer.Option("--target", "-t", metavar="TARGET", help="A target that mmedge knows there. [default: the best that it detects]", show_default=False),
]
MaxRegression = Annotated[
    float | None,
    typer.Option(metavar="PERCENT", help="Exit with status 3 if a time is really slower by more, even at the lower end of its interval.", show_default=False),
]
AnyWeights = Annotated[
    bool, typer.Option("--any-weights", help="Accept weights that do not match the architecture: make up what is missing, leave out what is extra.")
]
