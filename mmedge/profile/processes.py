"""Work done in a fresh process: a module of mmedge is run, and one line of JSON comes back. And how much memory a process holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mmedge.documents import Failure
from mmedge.errors import MmedgeError


@dataclass(frozen=True, slots=True)
class Resident:
    """Memory of this process, in MB of 2^20 bytes."""

    rss_mb: float
    pss_mb: float | None
    """Pages that several processes share count to each in part; None where the system does not tell."""


def run_module(module: str, arguments: Sequence[str], doing: str) -> Any:
    """Run ``python -m module`` and return what its ``tell`` printed.

    Args:
        doing: what the process does, for errors: ``started assistant.bundle for cpu``.

    Raises:
        MmedgeError: what it met, in its own words; or that it was killed.
    """
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, errors="replace")  # interrupted, it kills the process
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        fixes = {"SIGKILL": "close other programs: the system kills what wants more memory than there is"}
        raise MmedgeError(f"a process that {doing} was ended by {name}", fixes.get(name, "update its runtime, or use another target"))
    if done.returncode > 0:
        raise RuntimeError(f"a process that {doing} failed:\n{done.stderr[-4000:]}")
    told = json.loads(done.stdout)
    if isinstance(told, dict) and "error" in told:
        failure = Failure.model_validate(told)
        raise MmedgeError(failure.error, failure.fix)
    return told


def tell(work: Callable[[], Any]) -> None:
    """Print what ``work`` returns, plain data, or the error that it raises, as one line of JSON: whatever a runtime prints meanwhile goes to stderr."""
    line = os.dup(1)
    os.dup2(2, 1)
    try:
        told = work()
    except MmedgeError as error:
        told = Failure(status=error.status, error=error.what, fix=error.fix).model_dump(by_alias=True)
    with open(line, "w", encoding="utf-8") as out:
        out.write(json.dumps(told) + "\n")


def resident() -> Resident:
    """What this process holds now."""
    import psutil  # a start that is measured does not wait for it

    memory, full = psutil.Process().memory_info(), None
    with suppress(psutil.Error, OSError):  # a hardened kernel keeps it
        full = psutil.Process().memory_full_info()
    pss = getattr(full, "pss", None)
    return Resident(memory.rss / 2**20, pss / 2**20 if pss else None)
