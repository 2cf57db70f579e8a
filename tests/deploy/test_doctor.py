"""What a machine can do: findings with their fixes, a kernel that is really run, and the status that a health check reads."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest
from system_tree import tree

from mmedge.deploy import doctor as under_test
from mmedge.deploy import kernel
from mmedge.deploy.devices import devices
from mmedge.deploy.doctor import doctor, hold
from mmedge.deploy.finding import finding
from mmedge.errors import MmedgeError
from mmedge.profile.machine import machine
from mmedge.runner import Facts, load_backend
from mmedge.target import Target

DRIVER = {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15\n"}
L4T = {"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"}


@pytest.fixture(autouse=True)
def no_sounddevice(monkeypatch):
    """Looking for PortAudio takes a tenth of a second each time."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)


def found_in(made):
    return {one.name: one for one in made.findings}


def seen(root):
    return {one.name: one for one in devices(root, machine(root).container)}


@pytest.mark.full
def test_a_kernel_really_runs_where_it_is_told_to():
    assert kernel.on_provider("CPUExecutionProvider") == ""


def test_a_provider_that_leaves_the_work_to_the_cpu_is_found_out():
    """The wheel for CPUs has one: Azure's, which is listed as available and computes nothing itself."""
    why = kernel.on_provider("AzureExecutionProvider")
    assert "CPU" in why


@pytest.mark.full
def test_a_provider_that_is_not_there():
    assert "is built without CUDAExecutionProvider" in kernel.on_provider("CUDAExecutionProvider")


@pytest.mark.full
@pytest.mark.parametrize("backend", ["ort", "openvino", "ref"])
def test_a_kernel_runs_on_a_backend(backend):
    if not load_backend(backend).probe().available:
        pytest.skip(load_backend(backend).probe().reason)
    assert kernel.on_backend(backend, Target.load("cpu")) == ""


@pytest.mark.full
def test_zeros_are_no_product():
    assert "computed something else" in kernel.on_backend("null", Target.load("null"))


@pytest.mark.full
def test_a_backend_without_a_gpu_says_so():
    if load_backend("tensorrt").probe().available:
        pytest.skip("there is a GPU here")
    assert kernel.on_backend("tensorrt", Target.load("rtx" if platform.machine() == "x86_64" else "jetson"))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (subprocess.CompletedProcess([], -11, "", ""), "it was ended by signal 11"),
        (subprocess.CompletedProcess([], 1, "", "Traceback\nImportError: libcudart.so.12\n"), "ImportError: libcudart.so.12"),
        (
            subprocess.CompletedProcess(
                [],
                0,
                "This session contains graph nodes that are assigned to the default CPU EP, but fallback to CPU EP has been explicitly disabled by the user.",
                "[E:onnxruntime:Default, provider_bridge_ort.cc:1480 TryGetProviderInfo_CUDA] /onnxruntime_src/core/session/provider_bridge_ort.cc:1193"
                " onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library"
                " libonnxruntime_providers_cuda.so with error: libcublasLt.so.11: cannot open shared object file: No such file or directory\n",
            ),
            "libcublasLt.so.11: cannot open shared object file: No such file or directory",
        ),
        (subprocess.TimeoutExpired([], 1), "did not end within"),
    ],
)
def test_how_a_broken_runtime_ends(monkeypatch, answer, why):
    def run(*arguments, **options):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(subprocess, "run", run)
    assert why in kernel.on_provider("CUDAExecutionProvider")


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """The findings of a PC with an NVIDIA driver whose onnxruntime says that it has CUDA, and whose first kernel ends as given."""

    def made(why, **files):
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
        monkeypatch.setattr(kernel, "on_provider", lambda provider: why)
        monkeypatch.setattr(under_test, "_backend", lambda name, target: finding(f"backend {name}", "not asked here"))
        return found_in(doctor(tree(tmp_path, {**DRIVER, **files})))

    return made


def test_a_gpu_that_computes(gpu):
    assert (gpu("")["GPU kernel"].state, gpu("")["GPU kernel"].found) == ("ok", "a product of matrices ran on the GPU, by ONNX Runtime")
    assert "ONNX Runtime on the GPU" not in gpu("")


@pytest.mark.parametrize(
    ("why", "files", "fix"),
    [
        ("CUDA error cudaErrorNoKernelImageForDevice:no kernel image is available for execution on the device", {}, "take one that has: pip"),
        ("libcublasLt.so.12: cannot open shared object file: No such file or directory", {}, "CUDA and cuDNN in the versions that the wheel was built for"),
        ("libcublasLt.so.12: cannot open shared object file: No such file or directory", {".dockerenv": ""}, "--runtime nvidia"),
        ("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version", {}, "see that the driver is loaded"),
    ],
)
def test_a_gpu_that_says_it_is_there_and_computes_nothing(gpu, why, files, fix):
    found = gpu(why, **files)["GPU kernel"]
    assert found.state == "warning" and why in found.found and fix in found.fix


def test_where_onnxruntime_has_no_gpu_the_kernel_is_tensorrts(monkeypatch, tmp_path):
    """JetPack 7: no onnxruntime-gpu is known for it. Both answers of TensorRT are stand-ins: there is no GPU here."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr("mmedge.backends.tensorrt.probe", lambda target=None: Facts(True, version="TensorRT 10.16.2", reason="a GPU"))
    root = tree(tmp_path, {"etc/nv_tegra_release": "# R39 (release), REVISION: 2.0, GCID: 45755727, BOARD: generic, EABI: aarch64\n"})
    asked = []
    monkeypatch.setattr(kernel, "on_backend", lambda name, target: asked.append((name, target.name)) or "")
    assert found_in(doctor(root))["GPU kernel"].found == "a product of matrices ran on the GPU, by TensorRT"
    assert asked == [("tensorrt", "jetson")]
    monkeypatch.setattr(kernel, "on_backend", lambda name, target: "CUDA error 35: CUDA driver version is insufficient")
    found = found_in(doctor(root))["GPU kernel"]
    assert found.state == "warning" and found.fix == "see that the driver is loaded and fits; then take the TensorRT that comes with the board's JetPack"


def test_a_board_without_anything(monkeypatch, tmp_path):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(under_test, "have", lambda name: False)
    for name in ("openvino", "ref"):
        monkeypatch.setattr(f"mmedge.backends.{name}.have", lambda name: False)
    monkeypatch.setattr("mmedge.backends.tensorrt.probe", lambda target=None: Facts(False, reason="TensorRT is not installed", fix="sudo apt install it"))
    found = found_in(doctor(tree(tmp_path, L4T)))
    assert (found["backend tensorrt"].state, found["backend tensorrt"].fix) == ("missing", "sudo apt install it")
    assert found["backend openvino"].found == "openvino is not installed; jetson does not use it"
    assert "another machine" in found["torch"].found


USB, SECOND, SENSOR = "HD Pro Webcam C920\n", "HD Pro Webcam C920\n", "vi-output, imx219 9-0010\n"


@pytest.mark.parametrize(
    ("devices", "state", "said", "fix"),
    [
        ({}, "missing", "no /dev/video*", "plug one in"),
        ({0: (USB, 0)}, "ok", "/dev/video0 (HD Pro Webcam C920)", ""),
        ({0: (USB, 0), 1: (SECOND, 1)}, "ok", "/dev/video0 (HD Pro Webcam C920)", ""),
        ({0: (SENSOR, 0)}, "warning", "/dev/video0 (vi-output, imx219 9-0010): a CSI camera", "use a USB camera"),
        ({0: (SENSOR, 0), 1: (USB, 0)}, "ok", "/dev/video0 (vi-output, imx219 9-0010), /dev/video1 (HD Pro Webcam C920)", ""),
        ({2: (None, None)}, "ok", "/dev/video2", ""),
    ],
)
def test_cameras(tmp_path, devices, state, said, fix):
    files = {"dev/videoless": "", "dev/null": ""}
    for number, (name, index) in devices.items():
        files[f"dev/video{number}"] = ""
        if name is not None:
            files |= {f"sys/class/video4linux/video{number}/name": name, f"sys/class/video4linux/video{number}/index": f"{index}\n"}
    found = seen(tree(tmp_path, files))["camera"]
    assert found.state == state and found.found.startswith(said) and fix in found.fix


def test_a_camera_in_a_container(tmp_path, monkeypatch):
    assert "--device /dev/video0" in seen(tree(tmp_path, {".dockerenv": ""}))["camera"].fix
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = seen(tree(tmp_path, {".dockerenv": "", "dev/video0": ""}))["camera"]
    assert found.state == "warning" and "/dev/video0 may not be opened by this user" in found.found and "--group-add video" in found.fix


def test_sound_in_a_container_without_its_devices(tmp_path, monkeypatch):
    def none(*arguments, **options):
        raise ValueError("No input device matching")

    monkeypatch.setitem(sys.modules, "sounddevice", type("sounddevice", (), {"query_devices": none, "PortAudioError": OSError}))
    assert "plug one in" in seen(tree(tmp_path / "pc", {"dev/snd/controlC0": ""}))["microphone"].fix
    found = seen(tree(tmp_path / "docker", {".dockerenv": ""}))
    assert all(found[name].fix.startswith("start the container with --device /dev/snd --group-add audio, or") for name in ("microphone", "loudspeaker"))


def test_sound_without_portaudio(tmp_path, monkeypatch):
    """A container with sound, but not the library: the fix is the library's, not the container's."""

    def broken(module, *, extra):
        raise MmedgeError("sounddevice is installed but fails to import: PortAudio library not found", "reinstall it")

    monkeypatch.setattr("mmedge.deploy.devices.need", broken)
    found = seen(tree(tmp_path, {".dockerenv": ""}))["microphone"]
    assert (found.state, found.fix) == ("missing", "install PortAudio: sudo apt install libportaudio2")


def test_without_a_target_missing_things_are_no_failure(mmedge):
    status, out, said = mmedge("doctor", "--json")
    assert (status, said) == (0, "")
    assert json.loads(out)["schema"] == "mmedge.doctor/1"


@pytest.mark.full
def test_a_health_check_that_holds(mmedge):
    status, out, said = mmedge("doctor", "--target", "cpu")
    assert (status, said) == (0, "") and "best target: " in out
    assert json.loads(mmedge("doctor", "--target", "cpu", "--json")[1])["schema"] == "mmedge.doctor/1"


@pytest.mark.parametrize("target", ["jetson", "jetson-thor"])
def test_a_health_check_of_what_this_machine_is_not(refused, target):
    what, fix = refused("doctor", "--target", target, shows="best target: ")
    assert what == f"this machine is no {target}"
    assert "/etc/nv_tegra_release" in fix
    assert refused("doctor", "--target", target, "--json") == (what, fix)


@pytest.mark.parametrize("target", ["jetsen", "."])
def test_a_health_check_of_an_unknown_target_shows_nothing(refused, target):
    assert f"there is no target '{target}'" in refused("doctor", "--target", target)[0]


def test_a_health_check_on_a_board(monkeypatch, tmp_path):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    board = tree(tmp_path, L4T)
    monkeypatch.setattr("mmedge.backends.tensorrt.probe", lambda target=None: Facts(False, reason="TensorRT is not installed", fix="sudo apt install it"))
    with pytest.raises(MmedgeError, match="jetson prefers tensorrt, which cannot run here: TensorRT is not installed") as error:
        hold(Target.load("jetson"), board)
    assert (error.value.fix, error.value.status) == ("sudo apt install it", 2)
    monkeypatch.setattr("mmedge.backends.tensorrt.probe", lambda target=None: Facts(True, version="TensorRT 10.3.0", reason="a GPU"))
    monkeypatch.setattr(kernel, "on_backend", lambda name, target: "no kernel image is available")
    with pytest.raises(MmedgeError, match="jetson prefers tensorrt, which runs nothing here: no kernel image is available"):
        hold(Target.load("jetson"), board)
    monkeypatch.setattr(kernel, "on_backend", lambda name, target: "")
    hold(Target.load("jetson"), board)
    with pytest.raises(MmedgeError, match="this machine is no jetson-orin-nano") as error:
        hold(Target.load("jetson-orin-nano"), board)
    assert error.value.fix == "name what it is: --target jetson"
