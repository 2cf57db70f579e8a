"""What the command line asks of quantizing, held against sense before minutes are spent."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Any, get_args

from mmedge.errors import MmedgeError
from mmedge.rated import Budget
from mmedge.target import Goal

DATA = "name samples with right answers, as mmedge eval takes them: --data FOLDER"


def data_of(path: Path | None) -> Path:
    """Raises MmedgeError: there is none."""
    if path is None:
        raise MmedgeError("quantizing needs data: what a model loses is judged on them, and ranges are measured on them", DATA)
    return path


def hold_selection(path: Path | None, split: str | None, limit: int | None) -> None:
    """Raises MmedgeError: samples are to be chosen where there are none."""
    named = [option for option, value in (("--split", split), ("--limit", limit)) if value is not None]
    if path is None and named:
        raise MmedgeError(f"{' and '.join(named)} without --data: there are no samples to choose from", f"{DATA}; or leave it out")


def goal_of(name: str | None) -> Goal | None:
    """None: the target's. Raises MmedgeError: there is no such goal."""
    goals = get_args(Goal)
    if name is not None and name not in goals:
        near = difflib.get_close_matches(name, goals, n=1, cutoff=0.5)
        raise MmedgeError(f"there is no goal {name!r}", f"did you mean {near[0]}?" if near else f"use one of: {', '.join(goals)}")
    found: Any = name
    return found


def budget_of(max_latency_ms: float | None, min_metric: float | None, max_mb: float | None) -> Budget:
    """Raises MmedgeError: one of them is no limit."""
    for option, value, example in (("--max-latency-ms", max_latency_ms, "20"), ("--max-mb", max_mb, "10")):
        if value is not None and not 0 < value < math.inf:
            raise MmedgeError(f"{option} {value:g} is no limit", f"give a number above 0: {option} {example}")
    if min_metric is not None and not math.isfinite(min_metric):
        raise MmedgeError(f"--min-metric {min_metric:g} is no limit", "give a value of the metric: --min-metric 0.6")
    return Budget(max_latency_ms=max_latency_ms, min_metric=min_metric, max_mb=max_mb)
