"""The profile of a bundle on a target: each graph, each verb, and the machine they were measured on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mmedge.bundle import Bundle
from mmedge.documents import Document
from mmedge.evaluate.golden import Golden
from mmedge.need import NotInstalled
from mmedge.profile.machine import Machine, describe, machine
from mmedge.profile.protocol import Latency, measure
from mmedge.target import Target

WIDTH = 30


class Row(Document):
    """One thing that was measured."""

    level: Literal["graph", "verb", "turn", "stage"]
    name: str
    where: str
    """Backend and precision; for verbs and turns, what they were given."""
    latency: Latency


class Report(Document):
    """Schema ``mmedge.report/1``."""

    schema_: Literal["mmedge.report/1"] = Field(default="mmedge.report/1", alias="schema")
    bundle: str
    target: str
    machine: Machine
    rows: tuple[Row, ...]
    not_run: tuple[str, ...] = ()
    """What could not be measured here, and why."""


def profile(path: Path, target: Target, report: Callable[[str], None]) -> Report:
    """Measure every graph on its golden feeds and every verb on its golden inputs.

    Raises:
        MmedgeError: the bundle is not compiled for the target, or its engines are built on the device.
    """
    bundle = Bundle.open(path)
    rows: list[Row] = []
    not_run: list[str] = []
    for role, model in bundle.manifest.models.items():
        golden = Golden(bundle, role)
        for name in model.graphs_for(target).values():
            placed = bundle.placement(role, name, target)
            feeds, _ = golden.graph(name)
            with bundle.runner(role, name, target) as runner:
                report(f"{role}/{name}")
                rows.append(
                    Row(level="graph", name=f"{role}/{name}", where=f"{placed.backend} {placed.precision}", latency=measure(partial(runner.run, feeds)))
                )
        if target.backends != ("null",):  # zeros are not what a decode loop ends on
            _verbs(bundle, role, target, golden, report, rows, not_run)
    return Report(bundle=bundle.manifest.name, target=target.name, machine=machine(), rows=tuple(rows), not_run=tuple(not_run))


def _verbs(bundle: Bundle, role: str, target: Target, golden: Golden, report: Callable[[str], None], rows: list[Row], not_run: list[str]) -> None:
    with bundle.session(role, target) as session:
        for case, arguments, _ in golden.cases():
            if case.level != "verb":
                continue
            name = f"{role}.{case.call}"
            report(name)
            try:
                rows.append(
                    Row(
                        level="verb",
                        name=name,
                        where=_given(case.args),
                        latency=measure(partial(getattr(session, case.call), **arguments)),
                    )
                )
            except NotInstalled as error:
                not_run.append(f"{name}: {error.what}")


def _given(arguments: dict[str, Any]) -> str:
    """What a verb was given, short enough for a table."""
    text = ", ".join(str(value) for value in arguments.values())
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


def table(made: Report) -> str:
    """The report as aligned text, with the machine at its foot."""
    lines = [("level", "name", "where", "p50 ms", "p90 ms", "n")]
    lines += [
        (row.level, row.name, row.where, f"{row.latency.p50_ms:.2f}", "-" if row.latency.p90_ms is None else f"{row.latency.p90_ms:.2f}", str(row.latency.n))
        for row in made.rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    text = [
        "  ".join(cell.rjust(width) if column > 2 else cell.ljust(width) for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines
    ]
    text += [f"not run: {reason}" for reason in made.not_run]
    text += [f"{made.bundle} on {made.target}: {describe(made.machine)}", "p90 is shown from 64 samples on"]
    return "\n".join(text)
