"""One thing that ``mmedge doctor`` looked at."""

from __future__ import annotations

from typing import Literal

from mmedge.documents import Document

State = Literal["ok", "missing", "warning"]


class Finding(Document):
    """One thing that was looked at."""

    state: State
    name: str
    found: str
    fix: str = ""


def finding(name: str, found: str, fix: str = "", state: State = "warning") -> Finding:
    """What is all right needs no fix: without one it is ``ok``."""
    return Finding(state=state if fix else "ok", name=name, found=found, fix=fix)
