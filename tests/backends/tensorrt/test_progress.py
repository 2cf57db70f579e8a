from __future__ import annotations

import io
import platform
from types import SimpleNamespace

import pytest
from onnx import helper
from small_graph import graph

from mmedge.backends.tensorrt import flavour, network
from mmedge.backends.tensorrt.progress import EVERY_S, Shown, Steps


class Base:
    """In the place of NVIDIA's IProgressMonitor, whose methods a builder calls."""


@pytest.fixture
def steps():
    return Steps()


@pytest.fixture
def monitor(steps):
    return steps.monitor(SimpleNamespace(IProgressMonitor=Base))


def test_phases_inside_each_other_count_as_parts_of_a_step(steps, monitor):
    assert steps.now() is None
    monitor.phase_start("build", None, 4)
    assert steps.now() == ("build", 0.0)
    assert monitor.step_complete("build", 0)
    monitor.phase_start("tactics", "build", 2)
    monitor.phase_start("layer", "tactics", 2)
    assert monitor.step_complete("layer", 0)
    assert steps.now() == ("layer", (1 + 0.25) / 4)


def test_it_never_goes_back(steps, monitor):
    monitor.phase_start("build", None, 2)
    monitor.phase_start("tactics", "build", 1)
    monitor.step_complete("tactics", 0)
    assert steps.now() == ("tactics", 0.5)
    monitor.phase_finish("tactics")  # before the step of the phase around it is complete
    assert steps.now() == ("build", 0.5)
    monitor.step_complete("build", 0)
    monitor.step_complete("build", 1)
    assert steps.now() == ("build", 1.0)
    monitor.phase_finish("build")
    assert steps.now() is None


def test_a_stop_is_answered_at_the_next_step(steps, monitor):
    monitor.phase_start("build", None, 2)
    steps.stop()
    assert monitor.step_complete("build", 0) is False


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_one_line(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    import sys

    shown = Shown("decoder fp16")
    shown("Timing tactics", 0.25)
    shown("Timing", 0.5)
    shown.close()
    first, second, empty, _ = sys.stderr.getvalue().split("\r")[1:]
    assert first == "decoder fp16: Timing tactics, 25%"
    assert second == "decoder fp16: Timing, 50%".ljust(len(first))
    assert empty.strip() == ""


def test_a_file_gets_a_line_now_and_then(capsys):
    now_s = 0.0
    shown = Shown("decoder fp16", lambda: now_s)
    for _ in range(30):
        now_s += 1.0
        shown("Timing tactics", now_s / 100)
    shown.close()
    assert EVERY_S == 10
    assert capsys.readouterr().err.splitlines() == [f"decoder fp16: Timing tactics, {done}%" for done in (10, 20, 30)]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorRT for RTX has wheels for x86-64 only")
def test_nvidias_builder_tells_its_steps_and_ends_where_it_is_stopped(tmp_path):
    """TensorRT for RTX, without a GPU."""
    parsed = network.parse(graph(tmp_path / "a.onnx", helper.make_node("Sqrt", ["x"], ["y"]), ranges={}), "rtx")
    for stopped in (False, True):
        steps = Steps()
        monitor = steps.monitor(flavour.load("rtx"))
        config, profile = parsed.builder.create_builder_config(), parsed.builder.create_optimization_profile()
        profile.set_shape("x", (1,), (2,), (4,))
        config.add_optimization_profile(profile)
        config.progress_monitor = monitor
        if stopped:
            steps.stop()
        engine = parsed.builder.build_serialized_network(parsed.network, config)
        assert (engine is None) is stopped
        assert stopped or steps.now() is None  # every phase was told to begin and to end
