"""``mmedge compare``: reports held against the first of them. A sentence for each difference that is real, and none for noise."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from mmedge.documents import Document
from mmedge.errors import GateFailed, MmedgeError
from mmedge.profile.changes import same_machine, setup_changes
from mmedge.profile.differences import ASSUMED, Figure, figures
from mmedge.profile.machine import describe
from mmedge.profile.reading import AGAIN, read_report
from mmedge.profile.report import Report, Word
from mmedge.profile.rows import few
from mmedge.profile.table import MARK, aligned, cut, how, percent, short, side_by_side, width

NAME = 16


class Side(Document):
    """A report that takes part."""

    name: str
    """What tells it from the others: its target, its file, or both."""
    file: str
    bundle: str
    target: str
    made: str
    machine: str
    rules: str
    verdict: Word | None
    """Of the whole."""


class Pair(Document):
    """One report against its baseline."""

    baseline: Side
    other: Side
    figures: tuple[Figure, ...]
    sentences: tuple[str, ...]
    """One for each figure whose difference is real."""
    lost: tuple[str, ...] = ()
    """Rows that only the baseline has."""
    notes: tuple[str, ...]
    """What to know about all of them: other machines, bundles or settings, runs that are not to be trusted, rows that only one of the two has."""


class Comparison(Document):
    """Schema ``mmedge.comparison/1``."""

    schema_: Literal["mmedge.comparison/1"] = Field(default="mmedge.comparison/1", alias="schema")
    pairs: tuple[Pair, ...]
    max_regression: float | None = None
    """Percent."""
    exceeded: tuple[str, ...] = ()
    """The times that are slower by more than that, even at the lower end of their interval."""
    unjudged: tuple[str, ...] = ()
    """The times that could not be held to it: from a run that was not stable, or missing from one of the reports."""


def compare(paths: Sequence[Path], max_regression: float | None = None) -> Comparison:
    """Hold every report against the first.

    A report of a file with several targets is held against the report of the same target in the first file, or, where that has none, against its first.
    A single file with several targets: its first target is the baseline of the others.

    Args:
        max_regression: percent. A time exceeds it when it is really different and the lower end of its interval is above. Times from a run that was not
            stable are not judged.

    Raises:
        MmedgeError: only one report, one that cannot be read, or two that were measured by different rules; a percentage that is none; or a percentage
            and not one time that could be held to it.
    """
    if max_regression is not None and not 0 <= max_regression < math.inf:
        raise MmedgeError(f"--max-regression {max_regression:g} is no percentage", "give how much slower is still allowed: --max-regression 5")
    files = _sides([(path, read_report(path)) for path in paths])
    first, others = files[0], [side for file in files[1:] for side in file]
    against = [(next((one for one in first if one[0].target == other[0].target), first[0]), other) for other in others]
    against = against or [(first[0], other) for other in first[1:]]
    if not against:
        raise MmedgeError(f"{paths[0]} has nothing to be compared with", "name two reports or more: mmedge compare before.json after.json")
    pairs = tuple(_pair(*before, *after) for before, after in against)
    if max_regression is None:
        return Comparison(pairs=pairs)
    exceeded, unjudged = _judged(pairs, max_regression)
    return Comparison(pairs=pairs, max_regression=max_regression, exceeded=exceeded, unjudged=unjudged)


def hold(made: Comparison) -> None:
    """Raise GateFailed if a time exceeds what was allowed, and MmedgeError if not every time could be judged: a gate that sees nothing must not be green."""
    if made.exceeded:
        raise GateFailed(f"more than {made.max_regression:g} % slower: {few(made.exceeded)}", "mmedge compare without --json says what changed")
    if made.unjudged:
        raise MmedgeError(f"not every time can be held to {made.max_regression:g} %: {few(made.unjudged)}", "measure both again, on a quiet machine and alike")


def table(made: Comparison) -> str:
    """Side by side, then the sentences, then what to know about them."""
    lines: list[str] = []
    for baseline in {pair.baseline.name: pair.baseline for pair in made.pairs}.values():
        pairs = [pair for pair in made.pairs if pair.baseline == baseline]
        lines += [*([""] * bool(lines)), f"baseline {_described(baseline)}", *(f"against  {_described(pair.other)}" for pair in pairs)]
        for grid in side_by_side(pairs, _grid):
            lines += ["", *grid]
    said = [sentence for pair in made.pairs for sentence in pair.sentences]
    notes = list(dict.fromkeys(note for pair in made.pairs for note in pair.notes))
    words = sorted({word for pair in made.pairs for figure in pair.figures for word in figure.verdicts} - {"stable"})
    legend = [f"{MARK} from a run that was {' or '.join(words)}"] if words else []
    return "\n".join(
        [
            *lines,
            "",
            *(map(_wrapped, said or ["No difference is real: all lie within what processes of one report differ by."])),
            "",
            *map(_wrapped, legend + notes),
        ]
    ).rstrip()


def _sides(files: Sequence[tuple[Path, Sequence[Report]]]) -> list[list[tuple[Side, Report]]]:
    """Every report with the shortest name that no other has: its target, its file's, both, or in the end a number."""
    read = [(path, report) for path, reports in files for report in reports]
    schemes = [
        [report.target for _, report in read],
        [path.stem for path, _ in read],
        [f"{path.stem} on {report.target}" for path, report in read],
        [str(path) for path, _ in read],
        [f"{path} on {report.target}" for path, report in read],
        [f"{path.stem} ({number})" for number, (path, _) in enumerate(read, 1)],
    ]
    names = iter(next(names for names in schemes if len(set(names)) == len(names)))

    def side(path: Path, report: Report) -> Side:
        verdict = report.verdict.word if report.verdict else None
        facts = {"bundle": report.bundle, "target": report.target, "made": report.made, "machine": describe(report.machine)}
        return Side(name=next(names), file=str(path), rules=how(report.rules), verdict=verdict, **facts)

    return [[(side(path, report), report) for report in reports] for path, reports in files]


def _pair(baseline: Side, before: Report, other: Side, after: Report) -> Pair:
    if baseline.rules != other.rules:
        raise MmedgeError(
            f"{baseline.name} was measured {baseline.rules}, {other.name} {other.rules}: such latencies are not of one kind",
            "measure both alike: mmedge profile BUNDLE --mode MODE --rate RATE --json > report.json",
        )
    found, only_before, only_after = figures(before, after)
    sentences = tuple(_sentence(figure, baseline, other) for figure in found if figure.real)
    notes = [*_notes(baseline, before, other, after), *_only(baseline, only_before), *_only(other, only_after)]
    return Pair(baseline=baseline, other=other, figures=tuple(found), sentences=sentences, lost=tuple(only_before), notes=tuple(notes))


def _sentence(figure: Figure, baseline: Side, other: Side) -> str:
    """``eyes/image_encoder is 1.42x faster on intel-cpu (7.10 instead of 10.1 ms; 95 %: 1.39 to 1.45)``, and what changed."""
    assert figure.ratio is not None and figure.interval is not None  # else it were not real
    more = figure.ratio > 1
    low, high = figure.interval if more else (1 / figure.interval[1], 1 / figure.interval[0])
    size = figure.ratio if more else 1 / figure.ratio
    word = ("larger" if more else "smaller") if figure.level == "memory" else ("slower" if more else "faster")
    kind = "any two processes" if figure.level in ("memory", "start-up") else "95 %"
    values = f"{short(figure.value)} instead of {short(figure.baseline)} {figure.unit}"
    said = f"{figure.name} is {size:.2f}x {word} {_in(other)} ({values}; {kind}: {_between(low, high, ' to ')})"
    doubts = [f"{MARK} {side.name} was {verdict}" for side, verdict in zip((baseline, other), figure.verdicts) if verdict != "stable"]
    return ": ".join(filter(None, (said, ", ".join([*figure.changed, *doubts]))))


def _between(low: float, high: float, joint: str) -> str:
    """Two digits, three where two would make one figure of both."""
    digits = 2 if f"{low:.2f}" != f"{high:.2f}" else 3
    return f"{low:.{digits}f}{joint}{high:.{digits}f}"


def _in(side: Side) -> str:
    return f"on {side.target}" if side.name == side.target else f"in {side.name}"


def _notes(baseline: Side, before: Report, other: Side, after: Report) -> Iterator[str]:
    if not same_machine(before.machine, after.machine):
        yield f"different machines: {baseline.name} on {baseline.machine}; {other.name} on {other.machine}"
    elif different := setup_changes(before, after):
        yield f"{other.name} ran with {', '.join(different)} (against {baseline.name})"
    if baseline.bundle != other.bundle:
        yield f"different bundles: {baseline.name} is of {baseline.bundle}, {other.name} of {other.bundle}"
    for side, report in ((baseline, before), (other, after)):
        if not any(row.samples for row in report.rows):
            yield f"{side.name} keeps no samples (an older report): its ratios have no interval, and none of them can be called real"
        if report.verdict and report.verdict.word != "stable":
            yield f"{side.name} was {report.verdict.word}: {'; '.join(report.verdict.evidence[:2]) or 'no evidence given'}"
        if report.startup is None:
            yield f"{side.name} tried no fresh processes: differences up to {percent(ASSUMED - 1)} are taken for what processes differ by"


def _only(side: Side, names: Sequence[str]) -> list[str]:
    return [f"only {_in(side)}: {', '.join(names)}"] if names else []


def _judged(pairs: Sequence[Pair], max_regression: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(times that are slower by more, times that cannot be judged)."""
    times = [(figure, pair) for pair in pairs for figure in pair.figures if figure.unit == "ms" and figure.interval]
    if not times:
        raise MmedgeError("no time of these reports can be held to --max-regression: none has samples on both sides", AGAIN)
    slower: list[str] = []
    unjudged = [f"{name} only {_in(pair.baseline)}" for pair in pairs for name in pair.lost]
    for figure, pair in times:
        doubt = next(((side, word) for side, word in zip((pair.baseline, pair.other), figure.verdicts) if word != "stable"), None)
        if doubt:
            unjudged.append(f"{figure.name} ({doubt[0].name} was {doubt[1]})")
        elif figure.real and figure.interval and figure.interval[0] > 1 + max_regression / 100:
            slower.append(f"{figure.name} {figure.ratio:.2f}x {_in(pair.other)}")
    return tuple(slower), tuple(unjudged)


def _grid(pairs: Sequence[Pair], most: int) -> list[str]:
    """One row a figure: the baseline's, then each other's with its ratio, the interval, and a word where the difference is real."""
    columns = [{(figure.level, figure.name): figure for figure in pair.figures} for pair in pairs]
    keys = list(dict.fromkeys(key for column in columns for key in column))
    lines = [["", "", cut(pairs[0].baseline.name, NAME), *(cell for pair in pairs for cell in (cut(pair.other.name, NAME), "ratio", "95 %", ""))]]
    for before, key in zip([None, *keys], keys):
        known = next(column[key] for column in columns if key in column)
        cells = ["" if before and before[0] == key[0] else key[0], cut(key[1], most), _value(known.baseline, known.verdicts[0], known.unit)]
        lines.append([*cells, *(cell for column in columns for cell in (_cells(column[key]) if key in column else [""] * 4))])
    return aligned(lines, left={0, 1, *range(6, 3 + 4 * len(pairs), 4)})


def _cells(figure: Figure) -> list[str]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}x"
    interval = _between(*figure.interval, "-") if figure.interval else ""
    word = ""
    if figure.real and figure.ratio is not None:
        smaller, larger = ("smaller", "larger") if figure.level == "memory" else ("faster", "slower")
        word = larger if figure.ratio > 1 else smaller
    return [_value(figure.value, figure.verdicts[1], figure.unit), ratio, interval, word]


def _value(value: float, verdict: Word, unit: str) -> str:
    return f"{short(value)} {unit}{' ' if verdict == 'stable' else MARK}"


def _described(side: Side) -> str:
    parts = [f"{side.bundle} on {side.target}", side.rules, side.made, side.verdict or "no verdict"]
    return f"{side.name}: {', '.join(filter(None, parts))} ({side.file})"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, width(), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
