"""An evaluation for people."""

from __future__ import annotations

from collections.abc import Sequence

from mmedge.evaluate.evaluation import Evaluation, Figure
from mmedge.profile.machine import describe
from mmedge.profile.rows import few

LONGEST = 140
"""Characters of a note."""


def table(made: Evaluation, only: str | None = None) -> str:
    """Figures with their intervals, then what they depend on. ``only``: this metric alone."""
    used = made.data
    wide = max(len(one.name) for one in (*made.figures, *made.agreement))
    reasons = ((used.lacking, f"without {' or '.join((*used.inputs, used.wants))}"), (used.unreadable, "unreadable"))
    left = "".join(f", {count} {why} left out" for count, why in reasons if count)
    lines = [f"{made.role} on {made.target}: {made.task} on {used.name}{f' ({used.split})' if used.split else ''}, {len(made.samples)} samples{left}"]
    lines += ["", f"{'':{wide}}     value   95 % interval      n", *_lines(made.figures, wide, only)]
    if made.classes and not only:
        lines += ["", f"{'class':24}  precision    recall        f1   support"]
        shown = [one for one in made.classes if one.support or one.predicted]
        lines += [f"{one.label[:24]:24} {''.join(f'{_number(figure.value):>10}' for figure in one.figures[:3])}{one.support:10}" for one in shown]
        lines += [f"and {len(made.classes) - len(shown)} that never appear"] if len(shown) < len(made.classes) else []
    if absent := [one.label for one in made.classes if not one.support]:
        lines += ["", f"no sample is of {few(absent)}: nothing is known of {'it' if len(absent) == 1 else 'them'}"]
    if made.agreement:
        lines += ["", "agreement with fp32", *_lines(made.agreement, wide, None)]
    for condition in made.robustness:
        lines += ["", condition.name, *_lines(condition.figures, wide, only)]
    return "\n".join([*lines, "", *_foot(made, only)])


def _lines(figures: Sequence[Figure], wide: int, only: str | None) -> list[str]:
    return [_line(one, wide) for one in figures if only in (None, one.name)]


def _line(one: Figure, wide: int) -> str:
    if one.value is None:
        return f"{one.name:{wide}}         -   {one.why}"
    return f"{one.name:{wide}}  {_number(one.value):>8}  {_number(one.low):>6} .. {_number(one.high):<6}{one.n:6}"


def _foot(made: Evaluation, only: str | None) -> list[str]:
    """What the figures depend on: each note once, with the metrics that it is about."""
    about: dict[str, list[str]] = {}
    for one in made.figures:
        for note in (one.note, one.how):
            if note and only in (None, one.name):
                about.setdefault(note, []).append(one.name)
    notes = [f"{', '.join(names) if len(names) < 4 else f'{names[0]} ... {names[-1]}'}: {_short(note)}" for note, names in about.items()]
    unreadable = [f"unreadable: {'; '.join(made.data.unreadable_said)}"] if made.data.unreadable else []
    ran = ", ".join(f"{name} {where}" for name, where in made.placements.items())
    settings = "".join(f"; {name} {value!r}" for name, value in made.setting.items())
    data = f"data: sha256 {made.data.fingerprint[:12]}, seed {made.data.seed}"
    return [*notes, *unreadable, f"ran: {ran}{settings}; {made.seconds:.0f} s", data, describe(made.machine)]


def _short(note: str) -> str:
    return note if len(note) <= LONGEST else f"{note[:LONGEST]}..."


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"
