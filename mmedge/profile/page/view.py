"""One report as the page's template reads it: what is there, drawn and sorted; nothing is computed in the template."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from markupsafe import Markup

from mmedge.profile.page.figures import SMALL, WIDE, distribution, drift, waterfall
from mmedge.profile.page.maps import candidates, roofline
from mmedge.profile.page.numbers import ms, whole
from mmedge.profile.report import Fresh, Kind, Operators, Report, Roof, Row, Rules, Trial

SHOWN_KINDS = 9
START = {
    "import_ms": "import",
    "load_ms": "read and verify",
    "compile_ms": "open every graph",
    "first_inference_ms": "first run of every graph",
    "first_answer_ms": "from start to first answer",
}
MEMORY = {"peak_rss_mb": "peak RSS", "steady_rss_mb": "steady RSS", "steady_pss_mb": "steady PSS", "device_mb": "accelerator"}
Pair = tuple[Markup, Markup]
Line = tuple[str, float, float, float, float]
"""Of a table of bars: what, median, least, most, share of the longest."""


class View:
    """A report and its drawings.

    Args:
        name: what the page calls this report.
        points: the most dots in one chart.
    """

    def __init__(self, report: Report, name: str, points: int) -> None:
        self.report, self.name = report, name
        sampled = [row for row in report.rows if row.samples and row.samples.latency_ms and row.level != "stage"]
        self.thinned = any(row.samples and len(row.samples.latency_ms) > points for row in sampled)
        self.distributions = [(row, distribution(row, points)) for row in sampled]
        self.drifts = [(row, drift(row, points)) for row in sampled]
        self.doubtful = [row for row in report.rows if row.verdict and row.verdict.word != "stable" and row.verdict.evidence]
        self.verbs = [row for row in report.rows if row.breakdown]
        self.operators: list[tuple[Row, Operators]] = [(row, row.operators) for row in report.rows if row.operators and row.operators.kinds]
        self.roofs: list[tuple[Row, Roof]] = [(row, row.roof) for row in report.rows if row.roof]
        self.identities = [(row, row.identity) for row in report.rows if row.identity]
        self.usage = [row for row in report.rows if row.usage and (row.usage.cores is not None or row.usage.millijoules is not None)]
        said = [row.usage.energy for row in report.rows if row.usage] + ([report.conditions.energy] if report.conditions else [])
        self.meters = [meter for meter in dict.fromkeys(said) if meter]
        self.startup = _startup(report)
        self.tiles = _tiles(report)
        self.facts = _facts(report)
        self.how = _how(report)

    @property
    def waterfall(self) -> Pair | None:
        turn = self.report.turn
        return (waterfall(turn, WIDE), waterfall(turn, SMALL)) if turn and turn.spans else None

    @property
    def roofline(self) -> Pair | None:
        """Only what computes and moves something has a place on logarithmic axes."""
        drawn = [(row, roof) for row, roof in self.roofs if min(roof.flops, roof.bytes, roof.gflops_s, roof.gb_s, row.latency.p50_ms) > 0]
        return (roofline(drawn, WIDE), roofline(drawn, SMALL)) if drawn else None

    @property
    def candidates(self) -> list[tuple[str, Markup]]:
        graphs: dict[str, list[Trial]] = {}
        for trial in self.report.trials:
            if trial.median_ms > 0:
                graphs.setdefault(trial.graph, []).append(trial)
        return [(name, candidates(trials)) for name, trials in graphs.items()]


def _tiles(report: Report) -> list[tuple[str, str, str]]:
    """The few figures to remember: value, unit, what it is."""
    rows = {row.name: row for row in report.rows}
    tiles = []
    if heard := rows.get("end of speech -> first audio"):
        tiles.append((ms(heard.latency.p50_ms), "ms", "median, end of speech to first audio"))
    verbs = [row for row in report.rows if row.level == "verb"] or [row for row in report.rows if row.level == "graph"]
    if verbs:
        longest = max(verbs, key=lambda row: row.latency.p50_ms)
        tiles.append((ms(longest.latency.p50_ms), "ms", f"median of {longest.name}, the longest {longest.level}"))
    if report.startup and report.startup.processes:
        answers = [fresh.first_answer_ms for fresh in report.startup.processes if fresh.first_answer_ms is not None]
        if answers:
            tiles.append((ms(median(answers) / 1e3), "s", "from a cold start to the first answer"))
        tiles.append((whole(max(fresh.peak_rss_mb for fresh in report.startup.processes)), "MB", "peak memory (RSS)"))
    return tiles


def _startup(report: Report) -> list[tuple[str, str, list[Line]]]:
    if not report.startup or not report.startup.processes:
        return []
    processes = report.startup.processes
    return [("Start", "ms", _lines(processes, START)), ("Memory", "MB", _lines(processes, MEMORY))]


def _lines(processes: Sequence[Fresh], named: dict[str, str]) -> list[Line]:
    found = {what: [value for fresh in processes if (value := getattr(fresh, key)) is not None] for key, what in named.items()}
    middles = {what: median(values) for what, values in found.items() if values}
    longest = max(middles.values(), default=0.0) or 1.0
    return [(what, middle, min(found[what]), max(found[what]), clamp(middle / longest)) for what, middle in middles.items()]


def _facts(report: Report) -> list[tuple[str, str]]:
    """All that the machine told, whatever it is called."""
    facts = [(key.replace("_", " "), _told(value)) for key, value in report.machine.model_dump().items()]
    return [(key, value) for key, value in facts if value]


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_told(inner)}" for key, inner in value.items() if inner is not None)
    if isinstance(value, list | tuple | set):
        return ", ".join(map(_told, value))
    return "" if value is None else str(value)


def _how(report: Report) -> str:
    rules: Rules = report.rules
    if rules.mode == "paced":
        arrivals = "at random (Poisson)" if rules.arrivals == "poisson" else "at a fixed rate"
        mode = f"Paced: calls were due {arrivals}, {rules.rate_hz:g} a second; latency counts from when a call was due" if rules.rate_hz else "Paced"
    else:
        mode = "Closed loop: the next call began when the last had returned"
    made = f" Measured {report.made.replace('T', ' ').replace('Z', ' UTC')}." if report.made else ""
    return f"{mode}; for each row at least {rules.seconds:g} s and {rules.samples} calls.{made}"


def clamp(part: float) -> float:
    """A share as a bar can show it."""
    return min(1.0, max(0.0, part))


def few(kinds: Sequence[Kind]) -> list[Kind]:
    """The longest kinds, and all others as one."""
    if len(kinds) <= SHOWN_KINDS + 1:
        return list(kinds)
    rest = kinds[SHOWN_KINDS:]
    return [*kinds[:SHOWN_KINDS], Kind(kind="others", count=sum(kind.count for kind in rest), ms=sum(kind.ms for kind in rest))]


def groupby_kept(rows: Sequence[Row], field: str) -> list[tuple[str, list[Row]]]:
    """Rows by a field, in the order in which its values first came."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(getattr(row, field), []).append(row)
    return list(groups.items())
