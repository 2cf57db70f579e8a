"""NVIDIA's TensorRT, and TensorRT for RTX: one backend for both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmedge.errors import MmedgeError
from mmedge.runner import Candidate, Engine, Facts, Graph, Operated, Runner
from mmedge.tensors import Feeds

if TYPE_CHECKING:
    from mmedge.target import Target


def probe() -> Facts:
    return Facts(False, reason="this version of mmedge builds no engines yet", fix="use another target: mmedge targets")


def candidates(graph: Graph, target: Target) -> list[Candidate]:
    return []


def compile(candidate: Candidate, target: Target, out: Path) -> Engine:
    raise MmedgeError(probe().reason, probe().fix)


def open(engine: Engine, target: Target) -> Runner:
    raise MmedgeError(probe().reason, probe().fix)


def operators(engine: Engine, target: Target, feeds: Feeds, runs: int) -> Operated | None:
    return None
