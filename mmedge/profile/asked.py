"""What the command line asks of a profile, held against sense before minutes are spent."""

from __future__ import annotations

import math
import os
from pathlib import Path

from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.profile.report import Rules

LONGEST_S = 600.0
FASTEST_HZ = 10_000.0
"""No sensor of such a machine asks more often; each call is kept."""


def rules(mode: str, rate: str | None, seconds: float) -> Rules:
    """How to measure.

    Args:
        mode: ``closed`` or ``paced``.
        rate: of paced calls: ``30`` (Hz), or ``poisson:30`` for random gaps of that mean rate.
        seconds: at least, for each row.

    Raises:
        MmedgeError: any of them makes no sense, or not with the others.
    """
    if mode not in ("closed", "paced"):
        raise MmedgeError(f"there is no mode {mode!r}", "use closed (the next call when the last has returned) or paced (calls are due at --rate)")
    if not 0 < seconds <= LONGEST_S:
        raise MmedgeError(f"--seconds {seconds:g} cannot be the time of each row", f"use more than 0 and at most {LONGEST_S:g}: --seconds 3")
    if mode == "closed":
        if rate is not None:
            raise MmedgeError("--rate is for paced calls, and these run in a closed loop", f"add --mode paced, or leave out --rate {rate}")
        return Rules(seconds=seconds)
    if rate is None:
        raise MmedgeError("paced calls need a rate", "give --rate HZ: --mode paced --rate 30")
    kind, colon, number = rate.rpartition(":")
    rate_hz = _number(number)
    if (colon and kind != "poisson") or not 0 < rate_hz <= FASTEST_HZ:
        raise MmedgeError(f"--rate {rate} is no rate", f"give calls a second, more than 0 and at most {FASTEST_HZ:g}: --rate 30, or --rate poisson:30")
    if rate_hz * seconds < 1:
        raise MmedgeError(f"at {rate_hz:g} Hz not one call is due in {seconds:g} s", f"measure longer: --seconds {min(LONGEST_S, math.ceil(10 / rate_hz)):g}")
    return Rules(mode="paced", rate_hz=rate_hz, arrivals="poisson" if colon else "fixed", seconds=seconds)


def words(how: Rules) -> list[str]:
    """As another mmedge's command line takes them."""
    rate = ["--rate", f"{'poisson:' if how.arrivals == 'poisson' else ''}{how.rate_hz!r}"] if how.rate_hz is not None else []
    return ["--mode", how.mode, "--seconds", repr(how.seconds), *rate]


def check_page(path: Path) -> None:
    """Whether the page can be written there and drawn at all. Raises MmedgeError: it cannot."""
    if path.is_dir():
        raise MmedgeError(f"{path} is a folder", f"name the page's file: --html {path / 'profile.html'}")
    if path.exists() and not path.is_file():
        raise MmedgeError(f"{path} is no file that could be replaced", "name the page's file: --html profile.html")
    if path.parent.exists() and not path.parent.is_dir():
        raise MmedgeError(f"{path.parent} is no folder", "name a file in a folder: --html profile.html")
    if not path.parent.is_dir():
        raise MmedgeError(f"there is no folder {path.parent} for the page", f"mkdir -p {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise MmedgeError(f"{path} cannot be written", "choose a folder that you may write to")
    for module in ("altair", "vl_convert"):
        need(module, extra="page")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
