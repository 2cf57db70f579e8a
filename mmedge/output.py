"""What commands print: documents or text on stdout, progress on stderr; and the commands that are done on a board instead."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mmedge import options
from mmedge.errors import GATE

if TYPE_CHECKING:
    from pydantic import BaseModel


def bisect_bundle(bundle: Path, targets: list[str] | None, on: str | None, as_json: bool) -> None:
    from mmedge.deploy.bisect import Bisection, bisect, describe, drifted
    from mmedge.deploy.on import run_on

    asked = ["check", *options.named(targets), "--bisect"]
    made = run_on(bundle, on, asked, (Bisection,), progress) if on is not None else bisect(bundle, options.one_of(targets, bundle, progress), progress)
    show(made, as_json, describe(made))
    if made.drifts:
        raise typer.Exit(GATE) if as_json else drifted(made)


def bundle_on(bundle: Path, on: str, command: list[str], targets: list[str] | None, as_json: bool) -> None:
    from mmedge.deploy.inspect import summary
    from mmedge.deploy.on import run_on
    from mmedge.manifest import Manifest

    made = run_on(bundle, on, [*command, *options.named(targets)], (Manifest,), progress)
    show(made, as_json, summary(made, Path(on)))


def show(document: BaseModel, as_json: bool, text: str) -> None:
    if as_json:
        from mmedge.documents import dump_json

        sys.stdout.write(dump_json(document))
    else:
        print(text)


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
