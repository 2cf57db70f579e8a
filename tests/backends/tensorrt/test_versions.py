"""The tables of NVIDIA's releases, held to what its documents and public repositories say."""

from __future__ import annotations

import pytest

from mmedge.backends.tensorrt.versions import ALL, ORIN, RELEASES, TENSORRT, WEAK, capability, release_for, row_for

# JetPack, L4T, boards, CUDA, TensorRT, as the sources that each row names have them; "?" is what no source tells.
JETPACKS = """
6.1   | 36.4.0 | Orin                            | 12.6    | 10.3
6.2   | 36.4.3 | Orin                            | 12.6.11 | 10.3.0.30
6.2.1 | 36.4.4 | Orin                            | 12.6.11 | 10.3.0.30
6.2.1 | 36.4.7 | Orin                            | 12.6.11 | 10.3.0.30
6.2.2 | 36.5.0 | Orin                            | 12.6    | 10.3.0.30
7.0   | 38.2.0 | Thor only                       | 13.0.0  | 10.13.3.9
7.0   | 38.2.1 | Thor only                       | 13.0.0  | 10.13.3.9
7.1   | 38.4.0 | Thor only                       | 13.0.0  | 10.13.3.9
7.2   | 39.2.0 | Orin AGX/NX/Nano AND Thor       | 13.2.1  | 10.16.2.10
7.2.1 | 39.2.1 | Orin AGX/NX/Nano AND Thor       | ?       | ?
7.2.2 | ?      | Jetson AGX Orin and Jetson Thor | ?       | ?
"""
BOARDS = {"Orin": ORIN, "Thor only": ("thor",), "Orin AGX/NX/Nano AND Thor": ALL, "Jetson AGX Orin and Jetson Thor": ("agx-orin", "thor")}
ROWS = [tuple(cell.strip() for cell in line.split("|")) for line in JETPACKS.strip().splitlines()]


@pytest.mark.parametrize(("jetpack", "l4t", "boards", "cuda", "tensorrt"), ROWS, ids=[f"{row[0]}-{row[1]}" for row in ROWS])
def test_a_release_is_what_its_source_says(jetpack, l4t, boards, cuda, tensorrt):
    found = next(one for one in RELEASES if one.jetpack == jetpack) if l4t == "?" else release_for(l4t)
    assert (found.jetpack, found.boards) == (jetpack, BOARDS[boards])
    assert (found.cuda or "?", found.tensorrt or "?") == (cuda, tensorrt)
    assert (found.l4t_low is None) == (found.l4t_high is None) == (l4t == "?")
    assert found.python == {"6": "3.10", "7": "3.12"}[jetpack[0]]


def test_there_is_no_release_beyond_the_sources():
    assert [one.jetpack for one in RELEASES] == list(dict.fromkeys(row[0] for row in ROWS))
    # 36.4.8 and 36.3 are named by no source; 39.1.0 only by one that the others contradict.
    assert [release_for(l4t) for l4t in ("36.3.0", "36.4.8", "36.5.1", "38.1", "38.3", "39.1.0", "39.2.2", "40.0", "35.4.1", "", "R36")] == [None] * 11


# Version, how a precision is asked for, supported on which Jetsons, DLA on which of them.
VERSIONS = [
    ("10.0.0", "strong-or-weak", ORIN, ("orin-nx", "agx-orin")),
    ("10.3.0.30", "strong-or-weak", ORIN, ("orin-nx", "agx-orin")),
    ("10.3.0.30+cuda12.5", "strong-or-weak", ORIN, ("orin-nx", "agx-orin")),
    ("10.7.0.23", "strong-or-weak", ORIN, ("orin-nx", "agx-orin")),
    ("10.8.0", "strong-or-weak", ORIN, ()),
    ("10.11.0", "strong-or-weak", ORIN, ()),
    ("10.12.0", "strong", ALL, ()),
    ("10.13.3.9", "strong", ALL, ()),
    ("10.16.2.10+cuda13.2", "strong", ALL, ()),
    ("11.0.0", "unconditional", (), ()),
    ("11.2.1.2", "unconditional", (), ()),
    ("11.3.0", "unconditional", (), ()),
    ("11.4.0.106", "unconditional", (), ()),
    ("11.4.1", "unconditional", ("agx-orin", "thor"), ("agx-orin",)),
    ("11.5.0", "unconditional", (), ()),
]


@pytest.mark.parametrize(("version", "rule", "boards", "dla"), VERSIONS, ids=[row[0] for row in VERSIONS])
def test_a_tensorrt_is_what_its_source_says(version, rule, boards, dla):
    row = row_for(version)
    assert (row.rule, row.boards, row.dla) == (rule, boards, dla)
    assert "--workspace" in row.removed
    assert set(WEAK) <= set(row.removed) if version.startswith("11") else not set(WEAK) & set(row.removed)
    assert {"--stronglyTyped", "--useCudaGraph", "--useSpinWait"} <= set(row.no_ops) if version.startswith("11") else not row.no_ops
    assert not set(row.removed) & set(row.no_ops)
    assert set(row.dla) <= set(row.boards)


def test_of_other_versions_nothing_is_known():
    assert [row_for(version) for version in ("8.6.1", "9.0", "10.17.0", "11.4.2", "11.5.1", "11.6.0", "12.0", "", "unknown")] == [None] * 9


def test_every_row_is_held_and_none_overlaps():
    assert {row_for(version[0]) for version in VERSIONS} == set(TENSORRT)
    assert [sum(row_for(end) == row for row in TENSORRT) for one in TENSORRT for end in (one.low, one.high)] == [1] * 2 * len(TENSORRT)
    assert all(row_for(end) is row for row in TENSORRT for end in (row.low, row.high))


@pytest.mark.parametrize("release", [one for one in RELEASES if one.tensorrt], ids=lambda one: one.jetpack)
def test_a_releases_own_tensorrt_supports_its_boards(release):
    assert set(release.boards) <= set(row_for(release.tensorrt).boards)


def test_thors_old_compute_capability_is_an_alias_before_cuda_13():
    assert [capability("10.1", cuda) for cuda in ("12.8", "12.9.1", "13.0.0", "13.2")] == ["11.0", "11.0", "10.1", "10.1"]
    assert capability("8.7", "12.6.11") == "8.7"
    assert capability("11.0", "13.0.0") == "11.0"
