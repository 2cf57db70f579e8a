"""Bundles of small checkpoints, compiled and healthy."""

from __future__ import annotations

import shutil

import pytest

TARGETS = "cpu", "intel-cpu"


@pytest.fixture(scope="session")
def healthy(shared, small_bundle):
    """Architecture of tests/checkpoints -> the folder of its bundle, compiled for ``cpu`` and ``intel-cpu`` and checked there. Not to be changed."""

    def healthy(architecture):
        from checks import compiled

        return shared(f"healthy-{architecture}.bundle", lambda path: compiled(small_bundle(architecture), path, *TARGETS))

    return healthy


@pytest.fixture
def damaged(healthy, tmp_path):
    """A copy of such a bundle: free to be damaged."""
    return lambda architecture: shutil.copytree(healthy(architecture), tmp_path / "planted.bundle")


@pytest.fixture
def clip(damaged):
    return damaged("CLIPModel")


@pytest.fixture
def fails(refused):
    """``check`` refuses a bundle by a gate; returns what it says."""
    return lambda bundle, target="cpu": refused("check", bundle, "-t", target, status=3)[0]
