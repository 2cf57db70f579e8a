from __future__ import annotations

import fcntl
import os
import shutil

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "2")


def _quiet(line):
    pass


def _export(recipe, path, *targets):
    from mmedge.build.export import export
    from mmedge.recipe import Recipe
    from mmedge.target import Target

    export(Recipe.load(recipe), path, [Target.load(name) for name in targets], report=_quiet)


@pytest.fixture(scope="session")
def _toy_bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "toy.bundle"
    _export("toy", path, "cpu")
    return path


@pytest.fixture
def toy_bundle(_toy_bundle, tmp_path):
    """A fresh copy of the toy's bundle, compiled for ``cpu``: free to be damaged."""
    return shutil.copytree(_toy_bundle, tmp_path / "toy.bundle")


@pytest.fixture(scope="session")
def assistant_bundle(tmp_path_factory, worker_id):
    """The shipped assistant with its real weights, for ``cpu`` and ``intel-cpu``; built once for all workers. Not to be changed."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    path = shared / "assistant-mini.bundle"
    with open(shared / "assistant-mini.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / "manifest.json").exists():
            _export("assistant-mini", path, "cpu", "intel-cpu")
    return path
