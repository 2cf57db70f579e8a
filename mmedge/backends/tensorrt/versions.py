"""What NVIDIA's releases are and allow, as rows: TensorRT by its version, boards by their L4T release. What no source tells is None."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from mmedge.documents import Document
from mmedge.target import SYSTEM, Board

Rule = Literal["strong-or-weak", "strong", "unconditional"]
"""How a precision is asked for. ``strong-or-weak``: strongly typed, else by the flags of weak typing. ``strong``: strongly typed only.
``unconditional``: the graph alone says it."""

ORIN: tuple[Board, ...] = ("orin-nano", "orin-nx", "agx-orin")
ALL: tuple[Board, ...] = (*ORIN, "thor")

ORIN_CAPABILITY, THOR_CAPABILITY = "8.7", "11.0"
THOR_BEFORE_CUDA_13 = "10.1"
"""Thor's old name; the new one is what is written."""

RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""What TensorRT-RTX builds for, without a GPU too (``ComputeCapability`` of 1.7): no Orin, no Thor."""

WEAK = ("--fp16", "--bf16", "--int8", "--fp8", "--int4", "--best", "--calib")
"""trtexec's flags of weak typing."""


class Row(Document):
    """What holds for a range of TensorRT's versions. ``high`` counts in full: 10.7 covers 10.7.0.23."""

    low: str
    high: str
    rule: Rule
    removed: tuple[str, ...]
    """trtexec's flags that are refused."""
    no_ops: tuple[str, ...]
    """Flags that are taken and do nothing any more."""
    boards: tuple[Board, ...]
    """The Jetsons that it supports."""
    dla: tuple[Board, ...]
    """Those of them on which it can use the DLA."""
    source: str


class Release(Document):
    """One release of Jetson Linux (L4T). ``l4t_high`` counts in full: 38.2 covers 38.2.1."""

    jetpack: str
    l4t_low: str | None
    l4t_high: str | None
    boards: tuple[Board, ...]
    cuda: str | None
    tensorrt: str | None
    """What comes with it. What is installed decides."""
    python: str
    base_image: str | None
    """The container that fits it; it may hold another TensorRT than the board."""
    source: str


TENSORRT = (
    Row(
        low="10.0",
        high="10.7",
        rule="strong-or-weak",
        removed=("--workspace",),
        no_ops=(),
        boards=ORIN,
        dla=("orin-nx", "agx-orin"),
        source="trt-strong-typing-migration: fully available from 10.12; work-with-dla: 10.7 is the last 10.x with DLA",
    ),
    Row(
        low="10.8",
        high="10.11",
        rule="strong-or-weak",
        removed=("--workspace",),
        no_ops=(),
        boards=ORIN,
        dla=(),
        source="trt-strong-typing-migration: fully available from 10.12",
    ),
    Row(
        low="10.12",
        high="10.16",
        rule="strong",
        removed=("--workspace",),
        no_ops=(),
        boards=ALL,
        dla=(),
        source="trt-strong-typing-migration: weak typing is deprecated in 10.12, its flags conflict with --stronglyTyped",
    ),
    Row(
        low="11.0",
        high="11.4.0",
        rule="unconditional",
        removed=("--workspace", *WEAK),
        no_ops=("--stronglyTyped", "--useCudaGraph", "--useSpinWait", "--directIO", "--sparsity=force"),
        boards=(),
        dla=(),
        source="tensorrt-10x-to-11x-jetson of 11.2.1, 11.3.0 and 11.4.0: does not support JetPack. The page of 11.0.0 was reversed by them",
    ),
    Row(
        low="11.4.1",
        high="11.4.1",
        rule="unconditional",
        removed=("--workspace", *WEAK),
        no_ops=("--stronglyTyped", "--useCudaGraph", "--useSpinWait", "--directIO", "--sparsity=force"),
        boards=("agx-orin", "thor"),
        dla=("agx-orin",),
        source="tensorrt-10x-to-11x-jetson of 11.4.1: JetPack 7.2.2 or later on Jetson AGX Orin and Jetson Thor; work-with-dla of 11.4.1",
    ),
    Row(
        low="11.5",
        high="11.5.0",
        rule="unconditional",
        removed=("--workspace", *WEAK),
        no_ops=("--stronglyTyped", "--useCudaGraph", "--useSpinWait", "--directIO", "--sparsity=force"),
        boards=(),
        dla=(),
        source="release notes of 11.5.0: JetPack is not listed",
    ),
)

JP6_IMAGE, JP7_IMAGE = "nvcr.io/nvidia/l4t-jetpack:r36.4.0", "nvcr.io/nvidia/tensorrt:26.05-py3"
IMAGE_TENSORRT = {JP6_IMAGE: "10.3", JP7_IMAGE: "10.16"}
"""What each container holds."""


def _release(
    jetpack: str, l4t: tuple[str | None, str | None], boards: tuple[Board, ...], cuda: str | None, tensorrt: str | None, image: str | None, source: str
) -> Release:
    python = "3.10" if jetpack.startswith("6") else "3.12"
    low, high = l4t
    return Release(jetpack=jetpack, l4t_low=low, l4t_high=high, boards=boards, cuda=cuda, tensorrt=tensorrt, python=python, base_image=image, source=source)


RELEASES = (
    _release("6.1", ("36.4.0", "36.4.0"), ORIN, "12.6", "10.3", JP6_IMAGE, "docs.pytorch.org/TensorRT getting_started/jetpack"),
    _release("6.2", ("36.4.3", "36.4.3"), ORIN, "12.6.11", "10.3.0.30", JP6_IMAGE, "meta-tegra walnascar"),
    _release("6.2.1", ("36.4.4", "36.4.7"), ORIN, "12.6.11", "10.3.0.30", JP6_IMAGE, "meta-tegra whinlatter, jetson_containers/l4t_version.py"),
    _release("6.2.2", ("36.5.0", "36.5.0"), ORIN, "12.6", "10.3.0.30", JP6_IMAGE, "jetpack-nixos r36.5-debs.json"),
    _release("7.0", ("38.2", "38.2"), ("thor",), "13.0.0", "10.13.3.9", JP7_IMAGE, "meta-tegra master-l4t-r38.2.x"),
    _release("7.1", ("38.4.0", "38.4.0"), ("thor",), "13.0.0", "10.13.3.9", JP7_IMAGE, "meta-tegra master-l4t-r38.4.x, jetpack archive-7.1"),
    _release("7.2", ("39.2.0", "39.2.0"), ALL, "13.2.1", "10.16.2.10", JP7_IMAGE, "meta-tegra master, jetpack-nixos r39.2-debs.json"),
    _release("7.2.1", ("39.2.1", "39.2.1"), ALL, None, None, JP7_IMAGE, "third-party page that cites the release notes of r39.2.1"),
    _release("7.2.2", (None, None), ("agx-orin", "thor"), None, None, None, "named by tensorrt-10x-to-11x-jetson of 11.4.1; its contents were not found"),
)
"""In order. jetson-containers calls 36.5.0 JetPack 6.2.1 and knows a 39.1.0: that is why the L4T release is the key, not JetPack's name."""


def row_for(version: str) -> Row | None:
    """What holds for a version of TensorRT, such as ``10.3.0.30``. None: nothing is known of it."""
    return next((row for row in TENSORRT if within(version, row.low, row.high)), None)


def release_for(l4t: str) -> Release | None:
    """The release that a board's ``/etc/nv_tegra_release`` names, such as ``36.4.3``. None: nothing is known of it."""
    return next((one for one in RELEASES if one.l4t_low and one.l4t_high and within(l4t, one.l4t_low, one.l4t_high)), None)


def l4t(root: Path = SYSTEM) -> str | None:
    """The release of Jetson Linux on this machine, such as ``36.4.3``; None where it is none. ``root`` is where the system's files are."""
    try:
        found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", (root / "etc/nv_tegra_release").read_text(errors="replace"))
    except OSError:
        return None
    return ".".join(found.groups()) if found else None


def capability(found: str, cuda: str) -> str:
    """The compute capability as it is written: Thor says 10.1 of itself under a CUDA before 13."""
    return THOR_CAPABILITY if found == THOR_BEFORE_CUDA_13 and _parts(cuda) < (13,) else found


def within(version: str, low: str, high: str) -> bool:
    """Whether a version lies in a range whose ends count with all that is below them."""
    found, least, most = _parts(version), _parts(low), _parts(high)
    return bool(found) and found[: len(least)] >= least and found[: len(most)] <= most


def _parts(version: str) -> tuple[int, ...]:
    """The leading numbers; what follows them, such as ``+cuda12.5``, says nothing of the version."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, numbers[0].split("."))) if numbers else ()
