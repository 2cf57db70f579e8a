"""A row of the error table (test_error_table.py), and the commands that several rows are about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    name: str
    how: object
    """Given the scene."""
    command: str
    what: str
    """In the line ``error:``."""
    fix: str
    """In the line ``fix:``."""
    status: int = 2
    leaves: str = ""
    """Where files may remain that the next build goes on from: no bundle without a manifest, which names them."""
    shows: str = ""
    """On stdout, which else stays empty where the status is not 0."""


def each(command, *rows, **shared):
    """Rows of one command: name, what brings it about, the error, the fix."""
    return [Row(name, how, command, what, fix, **shared) for name, how, what, fix in rows]


PUSH = "mmedge push toy.bundle board -t cpu"
CHECK_ON = "mmedge check toy.bundle --on board"
COMPILE, CHECK = "mmedge compile toy.bundle -t jetson", "mmedge check toy.bundle -t jetson"
COMPILE_MINE = "mmedge compile toy.bundle -t mine.toml"
CHECK_NVIDIA = "mmedge check toy.bundle -t nvidia"
DOCTOR = "mmedge doctor -t jetson"
EXPORT, EXPORT_OWN = "mmedge export toy -t jetson -o new.bundle", "mmedge export own.onnx -t jetson -o new.bundle"
EXPORT_MINE, EXPORT_OWN_MINE = "mmedge export toy -t mine.toml -o new.bundle", "mmedge export own.onnx -t mine.toml -o new.bundle"
