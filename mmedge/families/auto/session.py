"""Graphs of any architecture, run by name."""

from __future__ import annotations

from mmedge.family import PlainSession as Session

__all__ = ["Session"]
