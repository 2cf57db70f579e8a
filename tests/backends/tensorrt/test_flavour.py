"""Which of NVIDIA's modules is there. Standard TensorRT cannot be installed here: a stand-in has its place where a test speaks of it."""

from __future__ import annotations

import platform
import sys

import pytest
from backends.tensorrt import stand_in_builder

from mmedge.backends.tensorrt import flavour as flavours
from mmedge.backends.tensorrt.versions import RTX_CAPABILITIES
from mmedge.errors import MmedgeError
from mmedge.need import NotInstalled
from mmedge.target import Target


def target(**options):
    return Target(name="board", summary="", backends=("tensorrt",), max_opset=18, max_ir=10, options={"tensorrt": options})


def test_a_target_says_which():
    assert flavours.flavour(Target.load("rtx")) == "rtx"
    assert {flavours.flavour(Target.load(name)) for name in ("jetson", "nvidia")} == {"tensorrt"}


@pytest.mark.parametrize("options", [{"flavour": "trt"}, {"flavor": "rtx"}])
def test_a_target_that_says_it_wrong(options):
    with pytest.raises(MmedgeError, match=r"target board: options\.tensorrt"):
        flavours.flavour(target(**options))


def test_tensorrt_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(NotInstalled, match="TensorRT is not installed") as caught:
        flavours.load("tensorrt")
    assert "python3-libnvinfer" in caught.value.fix
    assert flavours.version("tensorrt") is None


@pytest.mark.parametrize(
    ("library", "fix"), [("libnvinfer.so.10", "python3-libnvinfer"), ("libnvdla_compiler.so", "apt install nvidia-l4t-dla-compiler; then start the container")]
)
def test_tensorrt_is_installed_but_broken(monkeypatch, tmp_path, library, fix):
    (tmp_path / "tensorrt.py").write_text(f"raise ImportError('{library}: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(MmedgeError, match=f"{library}: cannot open") as caught:
        flavours.load("tensorrt")
    assert fix in caught.value.fix
    with pytest.raises(MmedgeError, match="installed but fails to import"):
        flavours.version("tensorrt")


def test_tensorrt_is_too_old(monkeypatch):
    stand_in_builder.install(monkeypatch, "8.6.2")
    with pytest.raises(MmedgeError, match=r"TensorRT 8\.6\.2 is too old: mmedge builds with 10\.0 or newer"):
        flavours.load("tensorrt")


def test_rtx_is_made_for_no_board(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(NotInstalled, match="made for x86-64, this machine is aarch64"):
        flavours.load("rtx")
    assert flavours.version("rtx") is None


def test_tensorrt_does_not_start_without_a_driver(monkeypatch):
    stand_in_builder.install(monkeypatch, "10.3.0", driver=False)
    with pytest.raises(MmedgeError, match=r"TensorRT 10\.3\.0 cannot start: .*CUDA initialization failure with error: 35") as caught:
        flavours.builder("tensorrt")
    assert "GPU and its driver" in caught.value.fix


@pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorRT for RTX has wheels for x86-64 only")
def test_the_gpus_that_rtx_builds_for_are_those_of_the_module():
    known = [name.removeprefix("SM") for name in dir(flavours.load("rtx").ComputeCapability) if name.startswith("SM")]
    assert {f"{name[:-1]}.{name[-1]}" for name in known} == set(RTX_CAPABILITIES) == set(Target.load("rtx").compute_capability)


def test_a_target_with_a_gpu_that_rtx_builds_nothing_for():
    orin = Target.load("rtx").model_copy(update={"compute_capability": ("8.6", "8.7", "11.0")})
    with pytest.raises(MmedgeError, match=r"target rtx: TensorRT-RTX builds nothing for compute capability 8\.7, 11\.0"):
        flavours.options(orin)
    assert flavours.options(orin.model_copy(update={"options": {}})).flavour == "tensorrt"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorRT for RTX has wheels for x86-64 only")
def test_a_process_has_one_logger_which_keeps_what_is_wrong():
    import tensorrt_rtx_bindings as trt

    log = flavours.log("rtx")
    assert isinstance(log, trt.ILogger)
    assert flavours.log("rtx") is log
    log.clear()
    parser = trt.OnnxParser(flavours.builder("rtx").create_network(0), log)
    assert not parser.parse_from_file("/none.onnx")
    assert "cannot be found" in log.errors[-1]
    log.clear()
    assert log.errors == log.warnings == []
    assert flavours.title("rtx") == f"TensorRT-RTX {trt.__version__}"
