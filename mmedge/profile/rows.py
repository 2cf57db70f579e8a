"""Which rows of several reports are the same thing, what they are called, and whether they can be trusted."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mmedge.profile.report import Level, Profiles, Report, Row, Word

Key = tuple[Level, str, str, int]
FEW = 4
"""Names in a sentence."""


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


def processes_disagree(report: Report) -> bool:
    """Whether the whole is unstable though no row is: then fresh processes differ, and every time is in doubt."""
    return _whole(report) == "unstable" and not any(row.verdict and row.verdict.word == "unstable" for row in report.rows)


def word_of(report: Report, row: Row | None = None) -> Word:
    """Whether a time can be trusted: by the row's own verdict, and ``unstable`` for all where the fresh processes disagree.

    Args:
        row: without one, of the starts: what the machine did to the rows, it did to them; that one row drifts says nothing of them.
    """
    if row is None:
        return "stable" if _whole(report) == "drifting" else _whole(report)
    own = row.verdict.word if row.verdict else "stable"
    return "unstable" if own == "stable" and processes_disagree(report) else own


def _whole(report: Report) -> Word:
    return report.verdict.word if report.verdict else "stable"


def few(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")
