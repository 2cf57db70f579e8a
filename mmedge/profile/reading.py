"""Reports from files: of this version and the one before it; refused where a figure in them could not be one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from mmedge.documents import validate
from mmedge.errors import MmedgeError
from mmedge.profile.report import Fresh, Profiles, Report, Row

LIMIT_MB = 256
"""A report with the samples of all its rows has a few megabytes; Python needs several times a file's size to read it."""
AGAIN = "measure again: mmedge profile BUNDLE --json > report.json"
NEW, OLD = "mmedge.report/2", "mmedge.report/1"


def read_report(path: Path) -> tuple[Report, ...]:
    """The reports of what ``mmedge profile --json`` or ``mmedge demo`` wrote: one, or one a target.

    Raises:
        MmedgeError: there is no such file, it is none of these documents, newer than this mmedge, damaged, or without a single sample.
    """
    content = _content(path)
    kind, _, version = str(content.get("schema", "")).partition("/")
    if kind == "mmedge.error":
        raise MmedgeError(f"{path} holds the error of a profile that failed: {content.get('error')}", str(content.get("fix") or AGAIN))
    if kind not in ("mmedge.report", "mmedge.profiles") or not version:
        raise MmedgeError(f"{path} is not a report (its schema is {content.get('schema')!r})", "name what mmedge profile BUNDLE --json > report.json wrote")
    if kind == "mmedge.profiles":
        reports = validate(content, Profiles, str(path), fix=AGAIN).reports
    else:
        reports = (validate(upgraded(content), Report, str(path), fix=AGAIN),)
    if not reports:
        raise MmedgeError(f"{path} holds no report: none of its targets could be measured", AGAIN)
    for report in reports:
        _check(path, report)
    return reports


def upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """A document of ``mmedge.report/1`` as one of ``/2``: every field of the old is one of the new, with the same meaning. It kept no samples."""
    return {**content, "schema": NEW} if content.get("schema") == OLD else content


def _content(path: Path) -> dict[str, Any]:
    try:
        if path.is_dir():
            raise _folder(path)
        with path.open("rb") as file:  # a pipe will do
            data = file.read((LIMIT_MB << 20) + 1)
    except FileNotFoundError as error:
        raise MmedgeError(f"there is no report at {path}", "check the path; a report is made by: mmedge profile BUNDLE --json > report.json") from error
    except OSError as error:
        raise MmedgeError(f"{path} cannot be read: {error.strerror}", "see to that file, or name another") from error
    if len(data) > LIMIT_MB << 20:
        raise MmedgeError(f"{path} is larger than any report: over {LIMIT_MB} MB", AGAIN)
    if not data.strip():
        raise MmedgeError(f"{path} is empty: the profile that should have written it did not end well", AGAIN)
    try:
        content = json.loads(data.decode(), parse_constant=_refuse_constant)
        finite = _finite(content)
    except (ValueError, RecursionError) as error:
        raise MmedgeError(f"{path} cannot be read as JSON: {error}", AGAIN) from error
    if not isinstance(content, dict):
        raise MmedgeError(f"{path} is not a report: it holds a JSON {type(content).__name__}", AGAIN)
    if not finite:
        raise MmedgeError(f"{path} holds an infinite number: no figure is", AGAIN)
    return content


def _folder(path: Path) -> MmedgeError:
    noun, bundle = ("bundle", str(path)) if (path / "manifest.json").is_file() else ("folder", "BUNDLE")
    return MmedgeError(f"{path} is a {noun}, not a report", f"name a file; it is made by: mmedge profile {bundle} --json > report.json")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no figure")


def _finite(content: Any) -> bool:
    """Whether every number is: JSON's 1e999 is read as infinite."""
    if isinstance(content, dict | list):
        return all(map(_finite, content.values() if isinstance(content, dict) else content))
    return not isinstance(content, float) or math.isfinite(content)


def _check(path: Path, report: Report) -> None:
    """Refuse what no measurement gives."""
    where = f"{path}: the report of {report.target}"
    if not report.rows:
        raise MmedgeError(f"{where} holds no measurement", AGAIN)
    for row in report.rows:
        if row.latency.n < 1 or (row.samples is not None and not row.samples.latency_ms):
            raise MmedgeError(f"{where} has no samples of {row.name}", AGAIN)
        if row.samples is not None and len(row.samples.latency_ms) != row.latency.n:
            raise MmedgeError(f"{where} says {row.latency.n} calls of {row.name} and keeps the samples of {len(row.samples.latency_ms)}", AGAIN)
        if impossible := _impossible(row):
            raise MmedgeError(f"{where} says that {row.name} took {impossible} ms", AGAIN)
    for started in report.startup.processes if report.startup else ():
        for name, value in _figures(started).items():
            if value < 0:
                raise MmedgeError(f"{where} says that a start had {name} {value}", AGAIN)


def _impossible(row: Row) -> float | None:
    """A time below zero. A turn's marks count from the end of speech: those may be reached before it."""
    if row.level == "turn":
        return None
    figures = row.latency.model_dump(exclude={"n"}, exclude_none=True).values()
    flat = [value for figure in figures for value in (figure if isinstance(figure, tuple) else (figure,))]
    least = min([*flat, *(row.samples.latency_ms if row.samples else ())])
    return least if least < 0 else None


def _figures(started: Fresh) -> dict[str, float]:
    plain = started.model_dump(exclude={"p50_ms", "p90_ms"}, exclude_none=True)
    series = {"p50_ms": started.p50_ms, "p90_ms": started.p90_ms}
    return {**plain, **{f"{figure} of {name}": value for figure, values in series.items() for name, value in values.items()}}
