from __future__ import annotations

import fcntl
import io
import json
import os
import re
import shutil
import signal
import sys

import pytest

from mmedge import cli
from mmedge.target import Target

os.environ.setdefault("OMP_NUM_THREADS", "2")


# What differs between boards: how a decoder's cache is written. Their engines are built on the device, so an export does not wait for any.
BOARDS = [
    Target(name=f"{cache}-{opset}", summary="", backends=("ort",), max_opset=opset, max_ir=10, cache=cache, build_on="device")
    for cache, opset in (("growing", 18), ("fixed", 18), ("fixed", 24))
]


WHOLE = re.compile(r"^pytestmark = \[?pytest\.mark\.(full|slow)\b", re.MULTILINE)


def pytest_ignore_collect(collection_path, config):
    """A file or folder of nothing but full or slow tests is not imported where those are left out: transformers alone takes seconds."""
    files = [*collection_path.rglob("test_*.py")] if collection_path.is_dir() else [collection_path] if collection_path.suffix == ".py" else []
    kinds = [found[1] if (found := WHOLE.search(file.read_text(encoding="utf-8"))) else "fast" for file in files]
    return True if kinds and all(f"not {kind}" in config.getoption("markexpr") for kind in kinds) else None


def _quiet(line):
    pass


def _export(recipe, path, *targets):
    from mmedge.build.export import export
    from mmedge.recipe import Recipe
    from mmedge.target import Target

    export(Recipe.load(recipe), path, [Target.load(name) for name in targets], report=_quiet)


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """What a test starts hears SIGINT, though whoever started the tests may have it ignored, as a script's background jobs do: children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def mmedge(monkeypatch, capfd, tmp_path):
    """Run a command in this process; returns (status, stdout, stderr)."""

    def mmedge(*arguments):
        before = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(sys, "argv", ["mmedge", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        try:
            with pytest.raises(SystemExit) as left:
                cli.main()
        finally:
            signal.signal(signal.SIGTERM, before)
        captured = capfd.readouterr()
        return left.value.code, captured.out, captured.err

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))
    return mmedge


@pytest.fixture
def refused(mmedge):
    """Run a command that must fail by the user's fault; returns its two lines without their labels. ``shows``: what stdout holds all the same."""

    def refused(*arguments, status=2, shows=""):
        got, out, said = mmedge(*arguments)
        what, fix = said.splitlines()[-2:]
        assert (got, what[:7], fix[:5]) == (status, "error: ", "fix: ") and "Traceback" not in said
        assert shows in out if shows else out == "" or (json.loads(out)["error"], json.loads(out)["status"]) == (what[7:], status)
        return what[7:], fix[5:]

    return refused


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


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory, worker_id):
    """Architecture of tests/checkpoints -> its bundle, not compiled, with both forms of the cache; exported once for all workers. Not to be changed.

    TensorScatter is what the newest boards write with; a family's first architecture stands for all, since only that operator differs.
    """
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent

    def made(architecture):
        from checkpoints import discovered

        from mmedge.build.export import export
        from mmedge.build.load import recipe_for
        from mmedge.bundle import Bundle
        from mmedge.family import load_family

        path = shared / f"{architecture}.bundle"
        with open(shared / f"{architecture}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (path / "manifest.json").exists():
                folder = shared / f"{architecture}.checkpoint"
                discovered()[architecture](folder)
                recipe = recipe_for(str(folder), offline=True, trace=_quiet)
                (model,) = recipe.models.values()
                export(recipe, path, BOARDS if architecture in load_family(model.family).ARCHITECTURES[:1] else BOARDS[:2], report=_quiet)
        return Bundle.open(path)

    return made
