from __future__ import annotations

import copy
import fcntl
import functools
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmedge import cli
from mmedge.target import Target

os.environ.setdefault("OMP_NUM_THREADS", "2")

ROOT = Path(__file__).parents[1]


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


EXPORTS_ALL = "test_exports.py"
"""Every small checkpoint, one after another."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """The order in which workers take the files (--dist loadfile --no-loadscope-reorder): neither waits while another makes what it needs.

    One exports the small checkpoints, the other the assistant, and goes on with what needs that or nothing; then comes what needs the small ones. What is
    fast fills the end: the workers then end together.
    """
    uses: dict[object, set[str]] = {}
    for item in items:
        marks = {"full"} if item.get_closest_marker("full") else set()
        uses.setdefault(item.path, set()).update(marks, item.fixturenames)

    def turn(item):
        found = uses[item.path]
        if "small_bundle" in found:
            return 0 if item.path.name == EXPORTS_ALL else 3
        return 1 if "assistant_bundle" in found else 2 if "full" in found else 4

    items.sort(key=turn)


def _quiet(line):
    pass


@functools.cache
def _read_operators_once():
    """torch's exporter makes its table of ONNX's operators anew for each graph, which takes half a second: here it gets copies of the first."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    read = functools.cache(ONNXRegistry.from_torchlib)

    def from_torchlib(**options):
        made = copy.copy(read(**options))
        made.functions = {target: [*known] for target, known in made.functions.items()}  # some exports add their own
        return made

    ONNXRegistry.from_torchlib = staticmethod(from_torchlib)


def _export(recipe, path, *targets):
    _read_operators_once()
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
def shared(tmp_path_factory, worker_id):
    """Name and what makes it -> a path that all workers share: whoever asks first makes it, everybody else waits for that. Not to be changed."""
    folder = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent

    def shared(name, make):
        path, made = folder / name, folder / f"{name}.made"
        with open(folder / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                make(path)
                made.touch()
        return path

    return shared


@pytest.fixture(scope="session")
def _toy_bundle(shared):
    return shared("toy.bundle", lambda path: _export("toy", path, "cpu"))


@pytest.fixture
def toy_bundle(_toy_bundle, tmp_path):
    """A fresh copy of the toy's bundle, compiled for ``cpu``: free to be damaged."""
    return shutil.copytree(_toy_bundle, tmp_path / "toy.bundle")


@pytest.fixture(scope="session")
def assistant_bundle(shared):
    """The shipped assistant with its real weights, for ``cpu`` and ``intel-cpu``. Not to be changed."""
    return shared("assistant-mini.bundle", lambda path: _export("assistant-mini", path, "cpu", "intel-cpu"))


@pytest.fixture(scope="session")
def wheel(shared):
    """The path of what is published."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", ROOT, "--wheel-dir"]
    return next(shared("wheel", lambda path: subprocess.run([*command, path], check=True)).glob("mmedge-*.whl"))


@pytest.fixture(scope="session")
def small_bundle(shared):
    """Architecture of tests/checkpoints -> its bundle, not compiled, with both forms of the cache. Not to be changed.

    TensorScatter is what the newest boards write with; a family's first architecture stands for all, since only that operator differs.
    """

    def made(architecture):
        from mmedge.bundle import Bundle

        return Bundle.open(shared(f"{architecture}.bundle", lambda path: _export_small(architecture, path)))

    return made


def _export_small(architecture, path):
    _read_operators_once()
    from checkpoints import discovered

    from mmedge.build.export import export
    from mmedge.build.load import recipe_for
    from mmedge.family import load_family

    folder = path.with_name(f"{architecture}.checkpoint")
    discovered()[architecture](folder)
    recipe = recipe_for(str(folder), offline=True, trace=_quiet)
    (model,) = recipe.models.values()
    export(recipe, path, BOARDS if architecture in load_family(model.family).ARCHITECTURES[:1] else BOARDS[:2], report=_quiet)
