from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mmedge.bundle import MANIFEST
from mmedge.deploy.compile import compile
from mmedge.errors import MmedgeError
from mmedge.profile.fresh import Stages, Started, start
from mmedge.profile.startup import startup
from mmedge.runner import load_backend
from mmedge.target import Target

CPU = Target.load("cpu")


def quiet(line):
    pass


@pytest.fixture
def answers(tmp_path, monkeypatch):
    """Write a module that the fresh process can import; returns what to name as the first answer."""

    def written(body):
        (tmp_path / "answers_first.py").write_text(f"import os, signal, sys, time\ndef hello_there(bundle, target):\n    {body}\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return "answers_first:hello_there"

    return written


def test_two_starts_are_ordered_and_positive(toy_bundle):
    lines = []
    made = startup(toy_bundle, CPU, processes=2, progress=lines.append)
    assert len(made.processes) == len(lines) == 2
    assert made.answer == "eyes.embed_image"
    assert made.device_memory == "no accelerator: ort on the CPU"
    assert "the system's memory" in made.note
    for fresh in made.processes:
        assert min(fresh.import_ms, fresh.load_ms, fresh.compile_ms, fresh.first_inference_ms) > 0
        assert fresh.import_ms + fresh.load_ms + fresh.compile_ms < fresh.first_answer_ms
        assert fresh.peak_rss_mb >= fresh.steady_rss_mb > 0
        assert fresh.steady_pss_mb is None or 0 < fresh.steady_pss_mb <= fresh.steady_rss_mb
        assert set(fresh.p50_ms) == {"eyes/image_encoder"}
        assert fresh.p50_ms["eyes/image_encoder"] > 0
    assert made.processes[0] != made.processes[1]


@pytest.mark.full
def test_memory_is_the_processs_own_not_its_parents(toy_bundle):
    """A process inherits its parent's high-water mark: that must not be taken for its own."""
    ballast = b"x" * (600 << 20)
    (fresh,) = startup(toy_bundle, CPU, processes=1, progress=quiet).processes
    assert fresh.peak_rss_mb < len(ballast) >> 20


def test_null_starts_and_answers_nothing(toy_bundle):
    target = Target.load("null")
    compile(toy_bundle, target, quiet)
    made = startup(toy_bundle, target, processes=1, progress=quiet)
    assert (made.answer, made.processes[0].first_answer_ms) == ("", None)
    assert made.processes[0].p50_ms["eyes/image_encoder"] > 0


def test_a_function_answers_first_with_graphs_that_are_opened_once(toy_bundle, answers):
    body = """
    with bundle.session("eyes", target) as eyes, bundle.session("eyes", target) as again:
        eyes.embed_image(bundle.file(bundle.manifest.media["cat"]))
        assert eyes._encoder is again._encoder
    print("noise on stdout")
    os.write(1, b"noise of a runtime")
    time.sleep(0.5)"""
    made = startup(toy_bundle, CPU, answer=answers(body), processes=1, progress=quiet)
    (fresh,) = made.processes
    assert made.answer == "hello there"
    assert fresh.first_answer_ms >= fresh.import_ms + fresh.load_ms + fresh.compile_ms + 500


@pytest.mark.full
def test_without_a_package_that_the_answer_needs_the_first_verb_answers(toy_bundle, answers):
    body = "from mmedge.need import need; need('no_such_package', extra='assistant')"
    assert startup(toy_bundle, CPU, answer=answers(body), processes=1, progress=quiet).answer == "eyes.embed_image"


@pytest.mark.full
def test_a_target_from_a_file_reaches_the_process(toy_bundle, tmp_path):
    """As a document: its name alone would not be found there."""
    path = tmp_path / "mine.toml"
    path.write_text('schema = "mmedge.target/1"\nname = "mine"\nsummary = ""\nbackends = ["null"]\nmax_opset = 23\nmax_ir = 10\n')
    target = Target.load(str(path))
    compile(toy_bundle, target, quiet)
    path.unlink()
    assert startup(toy_bundle, target, processes=1, progress=quiet).processes[0].compile_ms >= 0


def test_a_damaged_file_is_the_processs_own_error(toy_bundle):
    graph = next(toy_bundle.glob("eyes/*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    with pytest.raises(MmedgeError, match="is damaged: it is not what the manifest describes") as caught:
        startup(toy_bundle, CPU, processes=1, progress=quiet)
    assert str(graph) in caught.value.what
    assert caught.value.fix.startswith("export the bundle again")


def test_a_bundle_that_was_not_compiled_for_the_target_says_so(toy_bundle):
    with pytest.raises(MmedgeError, match="is not compiled for null") as caught:
        startup(toy_bundle, Target.load("null"), processes=1, progress=quiet)
    assert "mmedge compile" in caught.value.fix


@pytest.mark.parametrize(("number", "fix"), [(signal.SIGKILL, "close other programs"), (signal.SIGSEGV, "update its runtime")])
def test_a_killed_process_is_told_as_one(toy_bundle, answers, number, fix):
    with pytest.raises(MmedgeError, match=f"was ended by {number.name}") as caught:
        startup(toy_bundle, CPU, answer=answers(f"os.kill(os.getpid(), {int(number)})"), processes=1, progress=quiet)
    assert fix in caught.value.fix


@pytest.mark.full
def test_a_bug_in_the_process_is_told_with_its_traceback(toy_bundle, answers):
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        startup(toy_bundle, CPU, answer=answers("1 / 0"), processes=1, progress=quiet)


@pytest.mark.full
def test_an_interrupted_measurement_leaves_no_process_behind(toy_bundle, answers, tmp_path):
    began = tmp_path / "began"
    answer = answers(f"open({str(began)!r}, 'w').write(str(os.getpid())); time.sleep(120)")
    code = (
        "import sys; from pathlib import Path; from mmedge.profile.startup import startup; from mmedge.target import Target\n"
        "startup(Path(sys.argv[1]), Target.load('cpu'), answer=sys.argv[2], progress=print)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(toy_bundle), answer], stderr=subprocess.DEVNULL)
    try:
        until(lambda: began.exists() and began.read_text())
        parent.send_signal(signal.SIGINT)
        assert parent.wait(60) != 0
        child = int(began.read_text())
        until(lambda: not psutil.pid_exists(child))
    finally:
        parent.kill()
        parent.wait()


def until(holds):
    deadline_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_only_what_is_done_in_a_stage_counts_and_a_failed_one_does_not(monkeypatch):
    now_s = [10.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    stages = Stages(started_s=8.0)
    with stages.stage("load"):
        now_s[0] += 1.0
    now_s[0] += 5.0
    with contextlib.suppress(KeyError), stages.stage("answer"):
        now_s[0] += 5.0
        raise KeyError
    with stages.stage("load"):
        now_s[0] += 0.5
    assert stages.seconds == {"import": 2.0, "load": 1.5, "compile": 0.0, "answer": 0.0}


class Slow:
    """A runner whose first run takes longer."""

    inputs = outputs = ()
    reuses_outputs = False

    def __init__(self, now_s):
        self.now_s, self.runs = now_s, 0

    def run(self, feeds):
        self.runs += 1
        self.now_s[0] += 2.0 if self.runs == 1 else 0.1
        return {}

    def carry(self, pairs, start):
        return self


@pytest.mark.parametrize("carried", [False, True])
def test_the_first_run_is_timed_and_no_other(monkeypatch, carried):
    now_s = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    started = Started(Slow(now_s))
    running = started.carry({}, {}) if carried else started
    for _ in range(3):
        running.run({})
    started.run({})
    assert started.first_s == pytest.approx(2.0)


def test_the_manifest_is_read_before_anything_is_started(tmp_path):
    folder = tmp_path / "no.bundle"
    folder.mkdir()
    (folder / MANIFEST).write_text(json.dumps({"schema": "mmedge.bundle/99"}))
    with pytest.raises(MmedgeError, match=r"mmedge\.bundle/99"):
        startup(Path(folder), CPU, processes=1, progress=quiet)


@pytest.mark.parametrize(("told", "taken"), [((8000, 7880), 120), ((8000, 8200), 0), (None, None)])
def test_the_accelerators_memory_is_what_it_has_less_than_before(toy_bundle, monkeypatch, told, taken):
    if told:
        moments = iter(told)
        monkeypatch.setattr(load_backend("ort"), "free_mb", lambda: next(moments), raising=False)
    assert start(toy_bundle, CPU, "", time.monotonic())["fresh"]["device_mb"] == taken
