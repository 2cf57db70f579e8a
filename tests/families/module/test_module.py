"""The user's own module: run where the user says so, found where the user installed it, proven like any other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmedge.build.export import export as build
from mmedge.errors import MmedgeError
from mmedge.families.module import Options
from mmedge.families.module.export import export, search_path
from mmedge.family import Allow
from mmedge.recipe import Model, Recipe
from mmedge.target import Target

CODE = """
import torch
from mmedge.family import TorchGraph

class Square(torch.nn.Module):
    def forward(self, x):
        return x * x + 1

def factory():
    return {"square": TorchGraph(Square(), {"x": torch.randn(2, 3)}, ("y",), {"x": {0: "batch"}}, {"x": torch.randn(5, 3)})}

def nothing(): return {}
def number(): return 7
def named(): return {"No!": factory()["square"]}
def lonely():
    graph = factory()["square"]
    return {"square": TorchGraph(graph.module, graph.inputs, graph.outputs, graph.dynamic)}
def bare(): return {"square": TorchGraph(Square(), {}, ())}
def fails(): raise RuntimeError("no weights here")
constant = 3

class Loud(Square):
    def forward(self, x):
        print("computing")
        return super().forward(x)

def loud():
    print("making")
    graph = factory()["square"]
    return {"square": TorchGraph(Loud(), graph.inputs, graph.outputs, graph.dynamic, graph.other)}

print("imported")
"""
RECIPE = 'schema = "mmedge.recipe/1"\nname = "own"\n[models.eyes]\nmodule = "%s:factory"\n'
TRUST = Allow(code=True)


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    """A module of a name of its own, where PYTHONPATH says."""
    name = f"own_{abs(hash(request.node.name))}"
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / f"{name}.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"))
    return name


def refused(module, allow=TRUST):
    with pytest.raises(MmedgeError) as caught:
        export(Path(), Options(module=module), {}, allow)
    return caught.value


@pytest.mark.full
def test_a_recipe_with_a_module(package, tmp_path):
    (tmp_path / "own.toml").write_text(RECIPE % package)
    recipe = Recipe.load(str(tmp_path / "own.toml"))
    from mmedge.build.load import recipe_for

    recipe = recipe_for(str(tmp_path / "own.toml"), offline=True, trace=print)
    assert recipe.models["eyes"].family == "module"
    bundle = build(recipe, tmp_path / "bundle", [Target.load("cpu")], allow=TRUST, report=lambda line: None)
    graph = bundle.manifest.models["eyes"].graphs["square"]
    assert graph.parity is not None and graph.parity <= 1 and bundle.manifest.models["eyes"].sources == {"module": f"{package}:factory"}
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    with bundle.session("eyes", target="cpu") as session:
        assert np.allclose(session.run("square", x=x)["y"], x * x + 1)


def test_a_target_that_reads_less_than_can_be_written_is_refused_before_tracing(package, tmp_path, monkeypatch):
    monkeypatch.setattr("mmedge.build.export.write_graphs", lambda *given: pytest.fail("it was traced"))
    recipe = Recipe(name="own", models={"eyes": Model(family="module", module=f"{package}:factory")})
    old = Target.load("cpu").model_copy(update={"name": "old", "max_opset": 17})
    with pytest.raises(MmedgeError, match="old takes up to opset 17, IR 10; eyes is written in opset 18, IR 10"):
        build(recipe, tmp_path / "bundle", [old], allow=TRUST, report=lambda line: None)


@pytest.mark.full
def test_what_trusted_code_prints_stays_off_stdout_with_json(package, tmp_path, mmedge):
    (tmp_path / "own.toml").write_text(RECIPE.replace("factory", "loud") % package)
    status, out, err = mmedge("export", "own.toml", "-t", "cpu", "--trust-code", "--json")
    assert status == 0 and json.loads(out)["schema"] == "mmedge.bundle/1"
    assert all(said in err.splitlines() for said in ("imported", "making", "computing"))


def test_nothing_runs_without_the_flag(package, tmp_path):
    error = refused(f"{package}:factory", Allow())
    assert f"wants to run code: {package}:factory" in error.what and "--trust-code" in error.fix and package not in sys.modules


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "gave something else than graphs"),
        ("number", "gave something else than graphs"),
        ("named", "calls a graph 'No!'"),
        ("lonely", "has dynamic axes and no second example"),
        ("bare", "is not complete"),
        ("fails", "failed: RuntimeError: no weights here"),
        ("constant", "has no function constant"),
        ("absent", "has no function absent"),
    ],
)
def test_factories_that_make_no_graphs(package, name, said):
    assert said in refused(f"{package}:{name}").what


def test_modules_that_are_not_there_or_do_not_import(package, tmp_path):
    assert "no_such_package.inner is not installed" in refused("no_such_package.inner:factory").what
    (tmp_path / "installed" / f"{package}_needs.py").write_text("import no_such_package_either")
    assert "does not import: No module named 'no_such_package_either'" in refused(f"{package}_needs:factory").what
    (tmp_path / "installed" / f"{package}_broken.py").write_text("1 / 0")
    assert "does not import: ZeroDivisionError" in refused(f"{package}_broken:factory").what


def test_code_beside_the_recipe_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("open('ran', 'w')")
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert "" not in search_path() and "beside is not installed" in refused("beside:factory").what
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path[1:]])
    assert "beside is not installed" in refused("beside:factory").what
    assert not (tmp_path / "ran").exists()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert search_path()[0] == str(tmp_path)


@pytest.mark.full
def test_code_beside_the_recipe_is_never_run_by_python_m_either(tmp_path):
    (tmp_path / "beside.py").write_text("open('ran', 'w')")
    (tmp_path / "own.toml").write_text(RECIPE % "beside")
    command = [sys.executable, "-m", "mmedge", "export", "own.toml", "-t", "cpu", "--trust-code"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 2 and "beside is not installed" in done.stderr and not (tmp_path / "ran").exists()
