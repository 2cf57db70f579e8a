"""A profile as text: one table for all its targets, and below it what the figures rest on."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Collection, Sequence
from statistics import median
from typing import TypeVar

from mmedge.profile.machine import describe
from mmedge.profile.report import Profiles, Report, Row, Rules, Startup
from mmedge.profile.rows import evidence, few, keyed, not_run_of, reports_of, title, word_of

WIDTH, NARROW = 120, 60
"""Columns where no terminal tells how many it has; and the least that are reckoned with."""
NAMES, LEAST_NAMES, WHERE = 40, 12, 20
MARK = "~"
WITHHELD = "-"
KINDS = 4
"""Of operators, in the line of a graph."""
STARTS = {
    "import_ms": "import",
    "load_ms": "load",
    "compile_ms": "compile",
    "first_inference_ms": "first inference",
    "first_answer_ms": "first answer",
}
MEMORY = {"peak_rss_mb": "peak RSS", "steady_rss_mb": "steady RSS", "steady_pss_mb": "steady PSS", "device_mb": "device memory"}
"""Fields of ``Fresh`` -> what people call them."""


def table(made: Report | Profiles) -> str:
    """One row a measure, columns for each target; then breakdowns, operators, start-up, memory, energy, the machine, and what was not run."""
    reports = reports_of(made)
    lines = [_headline(report) for report in reports]
    for grid in side_by_side(reports, _grid):
        lines += ["", *grid]
    lines += ["", *_legend(reports)]
    lines += [line for report in reports for line in _sections(report, f"{report.target}: " if len(reports) > 1 else "")]
    lines += [entry("machine", facts) for facts in dict.fromkeys(describe(report.machine) for report in reports)]
    missing = [f"{report.target}: {what}" if len(reports) > 1 else what for report in reports for what in report.not_run]
    lines += [entry("not run", what) for what in [*missing, *not_run_of(made)]]
    return "\n".join(lines)


def short(value: float) -> str:
    """Three digits: ``1234``, ``123``, ``12.3``, ``1.23``, ``0.123``."""
    size = abs(value)
    return f"{value:.{0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3}f}"


def percent(share: float, digits: int = 0) -> str:
    """``12 %``."""
    return f"{share * 100:.{digits}f} %"


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """Cells in columns of equal width; those of the columns ``left`` are flush left."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) if at in left else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


def cut(text: str, width: int = NAMES) -> str:
    """The beginning of what is too long for its column."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def how(rules: Rules) -> str:
    """``closed loop``, ``paced at 30 Hz``, ``paced at 30 Hz (poisson)``."""
    if rules.mode == "closed":
        return "closed loop"
    return f"paced at {rules.rate_hz:g} Hz" + (" (poisson)" if rules.arrivals == "poisson" else "")


def _headline(report: Report) -> str:
    verdict = f": {report.verdict.word}" if report.verdict else ""
    return f"{report.bundle} on {report.target}, {how(report.rules)}{f', {report.made}' if report.made else ''}{verdict}"


def _marked(value: float | None, report: Report, row: Row) -> str:
    return f"{WITHHELD} " if value is None else short(value) + (" " if word_of(report, row) == "stable" else MARK)


Column = tuple[str, Callable[[Report, Row], str]]
ALWAYS: list[Column] = [
    ("p50 ms", lambda report, row: _marked(row.latency.p50_ms, report, row)),
    ("p90 ms", lambda report, row: _marked(row.latency.p90_ms, report, row)),
    ("p99 ms", lambda report, row: _marked(row.latency.p99_ms, report, row)),
    ("n", lambda _, row: str(row.latency.n)),
]
IF_ANY: list[Column] = [
    ("dropped", lambda _, row: str(len(row.samples.dropped_ms)) if row.samples and row.samples.dropped_ms else ""),
    ("cores", lambda _, row: f"{row.usage.cores:.1f}" if row.usage and row.usage.cores is not None else ""),
    ("mJ", lambda _, row: short(row.usage.millijoules) if row.usage and row.usage.millijoules is not None else ""),
    ("roof", lambda _, row: f"{row.roof.percent:.0f} %" if row.roof and row.roof.percent is not None else ""),
]


T = TypeVar("T")


def width() -> int:
    """Columns of the terminal, or as COLUMNS has it."""
    return max(NARROW, shutil.get_terminal_size((WIDTH, 24)).columns)


def side_by_side(columns: Sequence[T], grid: Callable[[Sequence[T], int], list[str]]) -> list[list[str]]:
    """As many beside each other as the terminal holds, the others below; where it does not hold one, names are cut.

    Args:
        grid: columns, and the most characters of a name.
    """
    most, grids = width(), []
    tries = [(number, NAMES) for number in range(len(columns), 0, -1)] + [(1, names) for names in range(NAMES - 1, LEAST_NAMES - 1, -1)]
    for number, names in tries if columns else []:
        grids = [grid(columns[at : at + number], names) for at in range(0, len(columns), number)]
        if max(len(line) for lines in grids for line in lines) <= most:
            break
    return grids


def _grid(reports: Sequence[Report], most: int) -> list[str]:
    rows = [keyed(report) for report in reports]
    keys = list(dict.fromkeys(key for some in rows for key in some))
    names = [["", ""], *(["" if before and before[0] == key[0] else key[0], cut(title(keys, key), most)] for before, key in zip([None, *keys], keys))]
    blocks = [_block(report, [some.get(key) for key in keys], alone=len(reports) == 1) for report, some in zip(reports, rows)]
    above = [["", ""]] * (len(blocks[0]) - len(names))
    return ["  ".join(parts).rstrip() for parts in zip(_even(aligned([*above, *names], left={0, 1})), *map(_even, blocks))]


def _block(report: Report, rows: Sequence[Row | None], *, alone: bool) -> list[str]:
    """The columns of a target: its name above them where it is not alone, otherwise where each row ran before them."""
    columns = ALWAYS + [column for column in IF_ANY if any(column[1](report, row) for row in report.rows)]
    if alone:
        columns = [("", lambda _, row: cut(row.where, WHERE)), *columns]
    else:
        columns = [column for column in columns if column[0] != "cores"]
    lines = aligned([[name for name, _ in columns], *([cell(report, row) if row else "" for _, cell in columns] for row in rows)], left={0} if alone else ())
    return lines if alone else [report.target, *lines]


def _even(lines: Sequence[str]) -> list[str]:
    width = max(map(len, lines))
    return [line.ljust(width) for line in lines]


def _legend(reports: Sequence[Report]) -> list[str]:
    """What each mark means: the word, the rows, and what says so."""
    lines = []
    for report in reports:
        place = f" on {report.target}" if len(reports) > 1 else ""
        marked = [row for row in report.rows if word_of(report, row) != "stable"]
        for word in dict.fromkeys(word_of(report, row) for row in marked):
            rows = [row for row in marked if word_of(report, row) == word]
            named = "every figure" if len(rows) == len(report.rows) else few(list(dict.fromkeys(row.name for row in rows)))
            lines.append(entry(f"{MARK} {word}{place}", ": ".join((named, *evidence(report, rows[0])[:1]))))
    if any(row.samples and row.samples.dropped_ms for report in reports for row in report.rows):
        lines.append(entry("dropped", "calls that were due and given up after a second: it does not keep up with the pace"))
    if any(row.latency.p90_ms is None or row.latency.p99_ms is None for report in reports for row in report.rows):
        lines.append(entry(WITHHELD, "withheld: too few calls (the 90th percentile needs 64, the 99th 662)"))
    return lines


def _sections(report: Report, prefix: str) -> list[str]:
    placed = dict.fromkeys(row.where for row in report.rows if row.level == "graph") if prefix else ()
    lines = [
        entry("placed", f"{prefix}{where}: {', '.join(row.name for row in report.rows if row.level == 'graph' and row.where == where)}") for where in placed
    ]
    for row in report.rows:
        if row.breakdown:
            whole = row.breakdown
            parts = ", ".join(f"{part.name} {percent(part.share)}" for part in sorted(whole.parts, key=lambda part: -part.share))
            lines.append(entry("breakdown", f"{prefix}{row.name} {short(whole.whole_ms)} ms: {parts}; {percent(whole.difference, 1)} unexplained"))
    for row in report.rows:
        if row.operators and row.operators.sum_ms > 0:
            kinds = ", ".join(f"{kind.kind} {percent(kind.ms / row.operators.sum_ms)}" for kind in row.operators.kinds[:KINDS])
            lines.append(entry("operators", f"{prefix}{row.name}: {kinds}"))
    if report.startup and report.startup.processes:
        lines += _startup(report, report.startup, prefix)
    lines += [entry("energy", prefix + why) for why in dict.fromkeys(row.usage.energy for row in report.rows if row.usage and row.usage.energy)]
    return lines


def _startup(report: Report, startup: Startup, prefix: str) -> list[str]:
    doubt = "" if word_of(report) == "stable" else MARK

    def middle(field: str, name: str, unit: str, mark: str = "") -> str:
        values = [value for started in startup.processes if (value := getattr(started, field)) is not None]
        return f"{name} {short(median(values))}{mark} {unit}" if values else ""

    times = [middle(field, name, "ms", doubt) for field, name in STARTS.items()]
    if startup.answer:
        times[-1] = times[-1] and f"{times[-1]} ({startup.answer})"
    memory = [middle(field, name, "MB") for field, name in MEMORY.items()] + [startup.device_memory]
    head = f"{prefix}{len(startup.processes)} processes, medians: "
    return [entry("start-up", head + ", ".join(filter(None, times))), entry("memory", prefix + ", ".join(filter(None, memory)))]


def entry(name: str, text: str) -> str:
    """A line with its label, wrapped under itself."""
    return textwrap.fill(text, width(), initial_indent=f"{name:<9}  ", subsequent_indent=" " * 11, break_long_words=False, break_on_hyphens=False)
