from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from evaluate.data_sets import colours

COMMANDS = ["demo", "export", "distill", "compile", "check", "eval", "quantize", "profile", "compare", "push", "run", "targets", "recipes", "doctor", "inspect"]


def in_a_process(*arguments, **environment):
    command = [sys.executable, "-m", "mmedge", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "100", **environment}, timeout=120)
    return done.returncode, done.stdout, done.stderr


def two_lines(said):
    what, fix = said.splitlines()[-2:]
    assert what.startswith("error: ")
    assert fix.startswith("fix: ")
    assert "Traceback" not in said
    return what, fix


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command, snapshot, mmedge, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    status, out, _ = mmedge(*command.split(), "--help")
    assert status == 0
    assert out == snapshot


HELP = """
import sys
from mmedge.cli import app
try:
    app(["--help"])
except SystemExit:
    pass
print(sorted({"torch", "onnxruntime", "openvino", "numpy", "pydantic", "transformers"} & set(sys.modules)))
"""


def test_help_imports_no_runtime():
    assert subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["exprot"], "No such command"),
        (["export", "--tarrget", "cpu"], "No such option: --tarrget"),
        (["check"], "Missing argument 'BUNDLE'"),
        (["export", "assistant-mimi", "--target", "cpu"], "there is no recipe 'assistant-mimi'"),
        (["export", "toy", "--target", "cpuu"], "there is no target 'cpuu'"),
        (["export", "openai/whisper-tiny.en"], "openai/whisper-tiny.en is neither a folder here nor a recipe"),
        (["export", "hf:openai/whisper-tiny.en@main", "--offline"], "hf:openai/whisper-tiny.en"),
        (["export", "stamps-clip"], "eyes of stamps-clip is still to be trained"),
        (["run", "nowhere"], "there is no bundle at nowhere"),
        (["profile", "nowhere"], "there is no bundle at nowhere"),
        (["compile", "nowhere"], "there is no bundle at nowhere"),
        (["inspect", "nowhere"], "there is no bundle at nowhere"),
        (["push", "nowhere", "me@board"], "there is no bundle at nowhere"),
        (["push", "nowhere", "-oProxyCommand=x"], "No such option: -o"),
        (["push", "nowhere", "--", "-oProxyCommand=x"], "'-oProxyCommand=x' names no host"),
        (["check", "nowhere", "--on", "-oProxyCommand=x:dir"], "'-oProxyCommand=x:dir' names no host"),
    ],
)
def test_a_users_mistake_is_two_lines_and_status_2(arguments, what, mmedge):
    status, out, said = mmedge(*arguments)
    assert status == 2
    assert out == ""
    assert what in two_lines(said)[0]


def test_a_bare_hub_name_is_answered_with_the_hf_form(mmedge):
    assert "hf:openai/whisper-tiny.en" in two_lines(mmedge("export", "openai/whisper-tiny.en")[2])[1]


def test_errors_are_json_too(mmedge):
    status, out, said = mmedge("inspect", "nowhere", "--json")
    assert (status, json.loads(out)["schema"], json.loads(out)["status"]) == (2, "mmedge.error/1", 2)
    assert json.loads(out)["error"] in said


def test_the_toy_goes_all_the_way(mmedge, tmp_path):
    bundle = tmp_path / "toy.bundle"
    status, out, said = in_a_process("export", "toy", "--target", "cpu", "--target", "null", "-o", bundle)
    assert status == 0, said
    assert "cpu: ready, 3 of 3 checks passed" in out
    for command in ("check", "compile", "inspect"):
        arguments = [] if command == "inspect" else ["--target", "cpu"]
        status, out, said = mmedge(command, bundle, *arguments, "--json")
        assert status == 0, said
        assert json.loads(out)["schema"] == "mmedge.bundle/1"


@pytest.mark.full
def test_the_toy_is_quantized_as_far_as_it_can_be(tmp_path):
    bundle = tmp_path / "toy.bundle"
    colours(tmp_path / "pictures")
    status, out, said = in_a_process("export", "toy", "--target", "cpu", "--data", tmp_path / "pictures", "-o", bundle, MMEDGE_CACHE=tmp_path / "cache")
    assert status == 0, said
    assert "eyes on cpu: classification on pictures, 9 units; accuracy of fp32 is 1.000" in out
    assert "cpu: ready, 3 of 3 checks passed" in out
    status, out, said = in_a_process("quantize", bundle, "--target", "cpu", "--data", tmp_path / "pictures", "--json", MMEDGE_CACHE=tmp_path / "cache")
    assert status == 0, said
    made = json.loads(out)
    assert made["schema"] == "mmedge.quantization/1"
    assert made["models"]["eyes"]["graphs"]["image_encoder"]["chosen"] == "ort fp32"
    assert "is made" not in said


@pytest.mark.full
def test_the_toy_is_profiled_and_compared_with_itself(toy_bundle, tmp_path):
    status, out, said = in_a_process("profile", toy_bundle, "--target", "cpu", "--seconds", "0.1", "--json")
    assert status == 0, said
    made = json.loads(out)
    assert made["schema"] == "mmedge.report/2"
    assert {row["level"] for row in made["rows"]} == {"graph", "verb"}
    assert all(row["identity"] and row["operators"]["sum_ms"] > 0 and row["roof"]["bytes"] > 0 for row in made["rows"] if row["level"] == "graph")
    assert all(abs(row["breakdown"]["difference"]) < 0.5 for row in made["rows"] if row["level"] == "verb")
    assert len(made["startup"]["processes"]) == 5
    path = tmp_path / "report.json"
    path.write_text(out)
    status, out, _ = in_a_process("compare", path, path)
    assert (status, "No difference is real" in out) == (0, True)


def test_jetson_gets_verified_onnx_and_is_told_the_rest(mmedge, tmp_path):
    bundle = tmp_path / "toy.bundle"
    status, out, said = mmedge("export", "toy", "--target", "jetson", "-o", bundle)
    assert status == 0, said
    assert "engines are built on the device" in out
    placed = json.loads((bundle / "manifest.json").read_text())["engines"]["jetson"]["eyes/image_encoder"]
    assert (placed["state"], placed["backend"]) == ("on-device", "tensorrt")
    assert "built on the device" in two_lines(mmedge("profile", bundle, "--target", "jetson")[2])[0]


def test_a_bug_keeps_its_traceback_and_has_status_1():
    code = "import mmedge.deploy.doctor as d\nd.doctor = lambda: 1 / 0\nimport sys; sys.argv = ['mmedge', 'doctor']\nfrom mmedge.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_reader_that_leaves_is_no_error():
    done = subprocess.run(f"{sys.executable} -m mmedge recipes --json | head -c 1", shell=True, capture_output=True, text=True)
    assert done.stderr == ""


def test_doctor_finds_this_machine(mmedge):
    status, out, _ = mmedge("doctor", "--json")
    made = json.loads(out)
    assert status == 0
    assert made["target"] in {"cpu", "intel-cpu"}
    assert {"backend ort", "backend null", "camera", "microphone", "disk"} <= {finding["name"] for finding in made["findings"]}
    assert all(finding["fix"] or finding["state"] == "ok" or "not looked" in finding["found"] for finding in made["findings"])


def test_targets_and_recipes_are_listed(mmedge):
    assert "jetson" in mmedge("targets")[1]
    assert {one["name"] for one in json.loads(mmedge("recipes", "--json")[1])["recipes"]} >= {"toy", "assistant-mini"}
