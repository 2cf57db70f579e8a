"""Which rows of several reports are the same thing, what they are called, and whether they can be trusted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from mmedge.profile.estimates import LEAST_MS
from mmedge.profile.report import Level, Profiles, Report, Row, Rules, Startup, Word

Key = tuple[Level, str, str, int]
FEW = 4
"""Names in a sentence."""
APART = {"p50_ms": 0.05, "p90_ms": 0.10}
"""Percentile -> how far processes may differ in it."""


def reports_of(made: Report | Profiles) -> tuple[Report, ...]:
    """One, or one a target."""
    return made.reports if isinstance(made, Profiles) else (made,)


def not_run_of(made: Report | Profiles) -> tuple[str, ...]:
    """The targets that were asked for and could not be measured; what one report lacks stands in itself."""
    return made.not_run if isinstance(made, Profiles) else ()


def keyed(report: Report) -> dict[Key, Row]:
    """The rows by level and name; verbs also by what they were given, since a verb may be measured with several inputs. The last part counts equal ones."""
    rows: dict[Key, Row] = {}
    for row in report.rows:
        same = (row.level, row.name, row.where if row.level == "verb" else "")
        number = sum(key[:3] == same for key in rows)
        rows[row.level, row.name, same[2], number] = row
    return rows


def title(keys: Collection[Key], key: Key) -> str:
    """A row's name, and what it was given where the name alone could mean another."""
    return f"{key[1]} ({key[2]})" if sum(other[:2] == key[:2] for other in keys) > 1 and key[2] else key[1]


@dataclass(frozen=True)
class Apart:
    """How far processes are apart in a percentile of a graph's time."""

    graph: str
    excess: float
    """As a multiple of what they may be."""
    sentence: str


def apart(rows: Sequence[Row], startup: Startup | None, rules: Rules) -> Iterator[Apart]:
    """The fresh processes of a profile held against each other, and against the row that the profile itself has of the same graph.

    A row of a pace is not: its times hold the wait in a queue.
    """
    processes = startup.processes if startup else ()
    own = {row.name: row.latency for row in rows if row.level == "graph" and rules.mode == "closed"}
    for percentile, most in APART.items():
        each = [getattr(process, percentile) for process in processes]
        for graph in dict.fromkeys(name for figures in each for name in figures):
            times_ms = [figures[graph] for figures in each if graph in figures]
            who = f"{len(times_ms)} fresh processes"
            if graph in own and (ours_ms := getattr(own[graph], percentile)) is not None:
                times_ms.append(ours_ms)
                who += " and this one"
            if len(times_ms) > 1:
                share = max(times_ms) / max(min(times_ms), LEAST_MS) - 1
                said = f"{graph}: {who} are {share:.1%} apart in {percentile[:3]}, {min(times_ms):.4g} to {max(times_ms):.4g} ms"
                yield Apart(graph, share / most, said)


def doubt(report: Report, row: Row) -> str:
    """Why a graph or a verb is doubtful though its own samples say nothing against it: processes disagree about this graph, or one that the verb ran.

    A turn is mostly waiting, and a sum of many graphs: what one of them does in other processes says little about it.
    """
    found = [one for one in apart(report.rows, report.startup, report.rules) if one.excess > 1 and _ran(row, one.graph)]
    return max(found, key=lambda one: one.excess).sentence if found else ""


def _ran(row: Row, graph: str) -> bool:
    """Whether a row is of a graph or, by its breakdown, of a verb that ran it. A graph's form has its name before a hyphen: decoder-scatternd."""
    if row.level != "verb":
        return row.level == "graph" and row.name == graph
    role, _, name = graph.partition("/")
    parts = {part.name for part in row.breakdown.parts} if row.breakdown else set()
    return row.name.partition(".")[0] == role and (not parts or bool(parts & {f"graph {name}", f"graph {name.partition('-')[0]}"}))


def evidence(report: Report, row: Row) -> tuple[str, ...]:
    """What says that a row is as ``word_of`` has it, the most important first."""
    if row.verdict and row.verdict.word != "stable":
        return row.verdict.evidence
    return tuple(filter(None, (doubt(report, row),)))


def word_of(report: Report, row: Row | None = None) -> Word:
    """Whether a time can be trusted: by the row's own verdict, and ``unstable`` where processes disagree about it.

    Args:
        row: without one, of the starts: what the machine did to the rows, it did to them; that one row drifts says nothing of them.
    """
    if row is None:
        return "stable" if _whole(report) == "drifting" else _whole(report)
    own = row.verdict.word if row.verdict else "stable"
    return "unstable" if own == "stable" and doubt(report, row) else own


def _whole(report: Report) -> Word:
    return report.verdict.word if report.verdict else "stable"


def few(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")
