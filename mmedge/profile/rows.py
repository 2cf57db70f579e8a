"""Which rows of several reports are the same thing, what they are called, and whether they can be trusted."""

from __future__ import annotations

from collections.abc import Collection

from mmedge.profile.report import Level, Profiles, Report, Row, Word

Key = tuple[Level, str, str, int]


def reports_of(made: Report | Profiles) -> tuple[Report, ...]:
    """One, or one a target."""
    return made.reports if isinstance(made, Profiles) else (made,)


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


def word_of(report: Report, row: Row | None = None) -> Word:
    """Whether a figure can be trusted: the row's own verdict; ``unstable`` for all where it is the fresh processes that disagree.

    Args:
        row: without one, of start-up and memory.
    """
    own = row.verdict.word if row and row.verdict else "stable"
    whole = report.verdict.word if report.verdict else "stable"
    if own == "stable" and whole == "unstable" and not any(other.verdict and other.verdict.word == "unstable" for other in report.rows):
        return "unstable"
    return own
