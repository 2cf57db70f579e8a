from __future__ import annotations

import os
import shutil

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture
def toy_recipe():
    from mmedge.recipe import Recipe

    return Recipe.load("toy")


@pytest.fixture(scope="session")
def _toy_bundle(tmp_path_factory):
    from mmedge.build.export import export
    from mmedge.recipe import Recipe
    from mmedge.target import Target

    path = tmp_path_factory.mktemp("bundles") / "toy.bundle"
    export(Recipe.load("toy"), path, [Target.load("cpu")], report=lambda line: None)
    return path


@pytest.fixture
def toy_bundle(_toy_bundle, tmp_path):
    """A fresh copy of the toy's bundle, compiled for ``cpu``: free to be damaged."""
    return shutil.copytree(_toy_bundle, tmp_path / "toy.bundle")
