"""What ``trtexec``, NVIDIA's program that builds engines, is told: by the build plan for a board, and where mmedge starts it itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mmedge.backends.tensorrt.versions import Row
from mmedge.errors import MmedgeError
from mmedge.target import Precision

Shapes = Mapping[str, tuple[tuple[int, ...], ...]]
"""Input with dynamic dimensions -> the least, likeliest and largest shape that an engine takes."""

WEAK: Mapping[Precision, tuple[str, ...]] = {"fp16": ("--fp16",), "bf16": ("--bf16",), "int8": ("--int8", "--fp16"), "int4": ("--int4", "--fp16")}


def typings(row: Row | None, precision: Precision) -> tuple[tuple[str, ...], ...]:
    """The flags that make an engine compute in ``precision``, in the order in which they are tried. Never weak and strong ones together.

    Args:
        row: None: nothing is known of this TensorRT, and it is asked strongly typed, which none since 10 refuses.
    """
    rule = row.rule if row else "strong"
    if rule == "unconditional":
        return ((),)
    if rule == "strong":
        return (("--stronglyTyped",),)
    weak = WEAK.get(precision, ())
    return (("--stronglyTyped",), weak) if weak else ((),)


def profile(shapes: Shapes) -> tuple[str, ...]:
    """One optimization profile. Raises MmedgeError: trtexec cannot be told of an input by its name."""
    sides = zip(("min", "opt", "max"), zip(*shapes.values()))
    return tuple(f"--{side}Shapes=" + ",".join(f"{_input(name)}:{'x'.join(map(str, size))}" for name, size in zip(shapes, sizes)) for side, sizes in sides)


def options(precision: Precision, workspace_mb: int | None) -> tuple[str, ...]:
    """How an engine is built, whatever its TensorRT.

    Args:
        workspace_mb: the memory that a layer may use beside its tensors; None: no limit.
    """
    limit = (f"--memPoolSize=workspace:{workspace_mb}",) if workspace_mb else ()
    # TF32 is on by default: its 10 bits of mantissa are those of fp16, and outside the bound of fp32. Details are for the inspector.
    return (*limit, *(("--noTF32",) if precision == "fp32" else ()), "--profilingVerbosity=detailed")


def _input(name: str) -> str:
    """An input as trtexec takes it: between quotes where its name holds what separates names and sizes."""
    if re.fullmatch(r"[\w./-]+", name):
        return name
    if "'" in name:
        raise MmedgeError(f"trtexec cannot be told the shape of the input {name!r}", "give that input a name without quotes")
    return f"'{name}'"
