"""The script of a build plan: a shell reads it as it was meant, whatever the names, and it says what it could not do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from mmedge import runner
from mmedge.backends.tensorrt.versions import TENSORRT, row_for
from mmedge.bundle import Bundle
from mmedge.deploy.plan import Command, Plan, Planning, script, write_plan
from mmedge.documents import read_json
from mmedge.errors import MmedgeError
from mmedge.manifest import Graph, Manifest, Tensor
from mmedge.manifest import Model as Entry
from mmedge.target import Target
from mmedge.tensors import TensorSpec

HOSTILE = "a b'; touch pwned; $(touch pwned) `touch pwned` \"&|*?{engines}~%s!"
RECORD = """#!{python}
import json, sys
open({log!r}, "a").write(json.dumps(sys.argv[1:]) + "\\n")
sys.exit("--stronglyTyped" in sys.argv and {fails!r})
"""


@pytest.fixture
def hostile(tmp_path):
    """A bundle whose target, files and inputs have names that a shell would misread; its plan, and a trtexec that writes down what it is asked."""
    with Bundle.writing(tmp_path / f"a bundle's {HOSTILE.replace('/', '')}", create=True) as bundle:
        names = {f"{HOSTILE}{number}": bundle.add("eyes", f"{HOSTILE}{number}.onnx", b"x%d" % number) for number in range(2)}
        weights = bundle.add("eyes", f"-{HOSTILE}.bin", b"w")
        entry = {"inputs": (Tensor(name="x:0,$(id)", dtype="float32", shape=("batch", 3)),), "outputs": (), "opset": 18, "ir": 10, "reference": ""}
        graphs = {name: Graph(file=file, weights=weights, **entry) for name, file in names.items()}
        model = Entry(family="toy", config={}, graphs=graphs, assets={}, golden=weights, cases=())
        bundle.manifest = Manifest(name="hostile", created="", models={"eyes": model}, media={})
        target = Target.load("jetson").model_copy(update={"name": HOSTILE})
        inputs = (TensorSpec("x:0,$(id)", "float32", ("batch", 3)),)
        opened = {name: runner.Graph(bundle.path / file.path, file.sha256, inputs, (), ranges={"batch": (1, 2, 2)}) for name, file in names.items()}
        plan, *scripts = write_plan(bundle, target, [Planning(f"eyes/{name}", graphs[name], one, "fp32") for name, one in opened.items()])
        bundle.commit()
    return bundle, read_json(bundle.path / plan.path, Plan, fix=""), scripts


def _run(bundle, file, tmp_path, *, fails=False, shell="sh"):
    log = tmp_path / "asked"
    tool = tmp_path / "trt exec"
    tool.write_text(RECORD.format(python=sys.executable, log=str(log), fails=fails))
    tool.chmod(0o755)
    folder = tmp_path / "the engines"
    done = subprocess.run([shell, bundle.path / file.path, folder], env={**os.environ, "TRTEXEC": str(tool)}, cwd=tmp_path, capture_output=True, text=True)
    asked = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return done, asked, folder


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_a_shell_reads_hostile_names_as_they_are(hostile, tmp_path, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    bundle, plan, scripts = hostile
    for generation, file in zip(plan.generations, scripts):
        done, asked, folder = _run(bundle, file, tmp_path, shell=shell)
        assert (done.returncode, done.stderr) == (0, "")
        wanted = [[argument.replace("={engines}/", f"={folder}/", 1) for argument in command.trtexec[0][1:]] for command in generation.commands]
        assert [command[0].partition("=")[2] for command in asked] == [graph.file.path for graph in plan.graphs]
        assert asked == wanted
        assert "--minShapes='x:0,$(id)':1x3" in asked[0]
        (tmp_path / "asked").unlink()
    assert not list(tmp_path.rglob("pwned"))


def test_a_damaged_file_is_never_built(hostile, tmp_path):
    bundle, plan, scripts = hostile
    (bundle.path / plan.graphs[1].weights.path).write_bytes(b"other")
    done, asked, _ = _run(bundle, scripts[0], tmp_path)
    assert done.returncode != 0
    assert asked == []


def test_a_failed_build_does_not_keep_the_others_from_theirs(hostile, tmp_path):
    bundle, plan, scripts = hostile
    strong = next(file for generation, file in zip(plan.generations, scripts) if row_for(generation.low).rule == "strong")
    done, asked, _ = _run(bundle, strong, tmp_path, fails=True)
    assert (done.returncode, len(asked)) == (1, len(plan.graphs))
    assert done.stderr == f"not built: {' '.join(graph.name for graph in plan.graphs)}\n"


def test_the_second_way_is_tried_where_the_first_fails(hostile, tmp_path):
    bundle = hostile[0]
    ways = (("trtexec", "--onnx=a", "--stronglyTyped"), ("trtexec", "--onnx=a", "--fp16"))
    text = script("jetson", TENSORRT[0], [], [Command(graph="eyes/a", trtexec=ways, key={})])
    done, asked, _ = _run(bundle, bundle.add("plans", "two.sh", text.encode()), tmp_path, fails=True)
    assert (done.returncode, asked) == (0, [["--onnx=a", "--stronglyTyped"], ["--onnx=a", "--fp16"]])


def test_a_script_wants_a_folder_for_the_engines(hostile):
    bundle, _, scripts = hostile
    done = subprocess.run(["sh", bundle.path / scripts[0].path], capture_output=True, text=True)
    assert done.returncode != 0
    assert "name the folder that takes the engines" in done.stderr


def test_an_input_that_trtexec_cannot_be_told_of(tmp_path):
    with Bundle.writing(tmp_path / "bundle", create=True) as bundle:
        file = bundle.add("eyes", "a.onnx", b"x")
        tensor = Tensor(name="it's", dtype="float32", shape=("batch",))
        graph = Graph(file=file, inputs=(tensor,), outputs=(), opset=18, ir=10, reference="")
        model = Entry(family="toy", config={}, graphs={"a": graph}, assets={}, golden=file, cases=())
        bundle.manifest = Manifest(name="quotes", created="", models={"eyes": model}, media={})
        opened = runner.Graph(bundle.path / file.path, file.sha256, (TensorSpec("it's", "float32", ("batch",)),), (), ranges={"batch": (1, 1, 1)})
        with pytest.raises(MmedgeError, match='trtexec cannot be told the shape of the input "it\'s"') as refused:
            write_plan(bundle, Target.load("jetson"), [Planning("eyes/a", graph, opened, "fp32")])
    assert "without quotes" in refused.value.fix
