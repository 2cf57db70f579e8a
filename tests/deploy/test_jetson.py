"""``mmedge doctor`` on boards that are trees of files: what stands in them is what public logs of such boards show. No Jetson was at hand."""

from __future__ import annotations

import json
import os
import platform

import pytest
from system_tree import tree

from mmedge.backends.tensorrt.versions import RELEASES
from mmedge.deploy import jetson as under_test
from mmedge.deploy.doctor import doctor
from mmedge.deploy.finding import finding
from mmedge.deploy.jetson import ORT_INDEX
from mmedge.errors import MmedgeError

TAIL = "# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\nTARGET_USERSPACE_LIB_DIR_PATH=usr/lib/aarch64-linux-gnu/nvidia\n"


def release(major, revision):
    return f"# R{major} (release), REVISION: {revision}, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n{TAIL}"


def cuda(version):
    return json.dumps({"cuda": {"name": "CUDA SDK", "version": version}, "cuda_cccl": {"name": "CUDA C++ Core Compute Libraries", "version": "12.6.37"}})


def dpkg(version):
    return (
        "Package: libnvidia-container1\nStatus: install ok installed\nVersion: 1.16.2-1\n\n"
        f"Package: libnvinfer10\nStatus: install ok installed\nPriority: optional\nArchitecture: arm64\nVersion: {version}\nDescription: TensorRT runtime\n\n"
        f"Package: libnvinfer-bin\nStatus: install ok installed\nVersion: {version}\n"
    )


LIBRARIES = {f"usr/lib/aarch64-linux-gnu/{name}": "" for name in ("libnvinfer.so.10.3.0", "libnvonnxparser.so.10.3.0", "libnvinfer_builder_resource.so.10.3.0")}
NANO = {
    "etc/nv_tegra_release": release(36, "4.3"),
    "proc/sys/kernel/osrelease": "5.15.148-tegra\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "proc/meminfo": "MemTotal:        7802836 kB\nMemFree:          321000 kB\nMemAvailable:    5368004 kB\nSwapTotal:       3901408 kB\n",
    "etc/nvpmodel.conf": (
        "< PARAM TYPE=FILE NAME=CPU_ONLINE >\n< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=25W >\n"
        "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n< POWER_MODEL ID=3 NAME=7W >\n< PM_CONFIG DEFAULT=1 >\n"
    ),
    "var/lib/nvpmodel/status": "pmode:0002\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "1020000000",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000",
    "usr/local/cuda/version.json": cuda("12.6.11"),
    "var/lib/dpkg/status": dpkg("10.3.0.30-1+cuda12.5"),
    "dev/nvhost-gpu": "",
    **LIBRARIES,
}
THOR = {
    **NANO,
    "etc/nv_tegra_release": release(38, "2.0"),
    "proc/sys/kernel/osrelease": "6.8.12-tegra\n",
    "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    "usr/local/cuda/version.json": cuda("13.0.0"),
    "var/lib/dpkg/status": dpkg("10.13.3.9-1+cuda13.0"),
}
ORIN_7 = {
    **NANO,
    "etc/nv_tegra_release": release(39, "2.0"),
    "proc/sys/kernel/osrelease": "6.8.12-1021-tegra\n",
    "usr/local/cuda/version.json": cuda("13.2.1"),
    "var/lib/dpkg/status": dpkg("10.16.2.10-1+cuda13.2"),
}
DOCKER = {".dockerenv": "", "proc/device-tree/model": None, "var/lib/nvpmodel/status": None, "etc/nvpmodel.conf": None}


@pytest.fixture
def diagnosis(tmp_path, monkeypatch):
    """A board's findings by name. ``python``: the version of TensorRT's module, or what its import raises."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr("mmedge.deploy.kernel._apart", lambda *words: "")
    monkeypatch.setattr("mmedge.deploy.devices._sound", lambda name, kind, hidden: finding(name, "not asked here"))
    monkeypatch.setattr("mmedge.deploy.doctor._backend", lambda name, target: finding(f"backend {name}", "not asked here"))

    def made(files, python="10.3.0"):
        def version(kind):
            if isinstance(python, MmedgeError):
                raise python
            return python

        monkeypatch.setattr(under_test.flavour, "version", version)
        diagnosis = doctor(tree(tmp_path, {name: content for name, content in files.items() if content is not None}))
        assert all(one.fix or one.state == "ok" for one in diagnosis.findings)
        return diagnosis, {one.name: one for one in diagnosis.findings}

    return made


def test_a_board_as_it_should_be(diagnosis):
    made, found = diagnosis(NANO)
    assert made.target == "jetson-orin-nano"
    said = {name: found[name].found for name in ("board", "Jetson Linux", "CUDA", "TensorRT", "power mode", "clocks", "memory")}
    assert said == {
        "board": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        "Jetson Linux": "36.4.3, JetPack 6.2; it comes with CUDA 12.6.11, TensorRT 10.3.0.30",
        "CUDA": "12.6.11 in /usr/local/cuda",
        "TensorRT": "10.3.0.30: parser, builder and Python module",
        "power mode": "MAXN_SUPER",
        "clocks": said["clocks"],
        "memory": "5242 of 7619 MB free, 3809 MB of swap",
    }
    assert {found[name].state for name in said if name != "clocks"} == {"ok"}
    assert "container" not in found


@pytest.mark.parametrize(("files", "python", "jetpack"), [(THOR, "10.13.3", "7.0"), (ORIN_7, "10.16.2", "7.2")])
def test_boards_of_jetpack_7(diagnosis, files, python, jetpack):
    _, found = diagnosis(files, python)
    assert f"JetPack {jetpack};" in found["Jetson Linux"].found
    assert {found[name].state for name in ("board", "Jetson Linux", "CUDA", "TensorRT")} == {"ok"}
    assert "none is known for this JetPack" in found["ONNX Runtime on the GPU"].fix


@pytest.mark.parametrize("files", [NANO, THOR, ORIN_7])
def test_what_ends_a_line_is_read_as_the_release_that_it_is(diagnosis, files):
    made, _ = diagnosis(files)
    assert made.machine.l4t in {"36.4.3", "38.2.0", "39.2.0"}


def test_a_release_that_nobody_knows(diagnosis):
    _, found = diagnosis({**NANO, "etc/nv_tegra_release": release(36, "3.0")})
    assert found["Jetson Linux"].state == "warning"
    assert found["Jetson Linux"].found == "36.3.0: nothing is known of this release"
    assert "36.4.3 (6.2)" in found["Jetson Linux"].fix and "38.2" not in found["Jetson Linux"].fix


def test_a_release_that_is_not_for_this_board(diagnosis):
    _, found = diagnosis({**NANO, "etc/nv_tegra_release": release(38, "2.0")})
    assert "not made for this board" in found["Jetson Linux"].found and "39.2.0 (7.2)" in found["Jetson Linux"].fix


@pytest.mark.parametrize(
    ("files", "python", "state", "found_", "fix"),
    [
        ({}, "11.2.1", "warning", "11.2.1 does not support NVIDIA Jetson Orin Nano", "TensorRT 10.3.0.30 of JetPack 6.2: sudo apt install tensorrt"),
        ({}, "11.0.0", "warning", "11.0.0 does not support", "and none from pip"),
        ({}, "11.4.1", "warning", "11.4.1 does not support", "10.3.0.30"),
        ({}, "10.99.0", "warning", "10.99.0: nothing is known of this version", "10.3.0.30"),
        ({}, None, "missing", "10.3.0.30, but its Python module is not to be seen here", "python3-libnvinfer"),
        (dict.fromkeys((*LIBRARIES, "var/lib/dpkg/status")), None, "missing", "not installed", "sudo apt install tensorrt python3-libnvinfer"),
        ({"var/lib/dpkg/status": None}, None, "missing", "10.3.0, but its Python module", "--system-site-packages"),
        ({name: None for name in LIBRARIES if "builder" in name}, "10.3.0", "warning", "10.3.0.30 without its builder: it runs engines", "install tensorrt"),
        ({name: None for name in LIBRARIES if "parser" in name or "builder" in name}, "10.3.0", "warning", "without its parser and builder", "tensorrt"),
        ({}, MmedgeError("libnvdla_compiler.so: cannot open", "install it there"), "warning", "its Python module is broken: libnvdla", "install it there"),
    ],
)
def test_what_is_wrong_with_tensorrt(diagnosis, files, python, state, found_, fix):
    _, found = diagnosis({**NANO, **files}, python)
    assert found["TensorRT"].state == state
    assert found_ in found["TensorRT"].found and fix in found["TensorRT"].fix


def test_a_tensorrt_from_pip_has_no_libraries_of_the_system(diagnosis):
    _, found = diagnosis({**NANO, **dict.fromkeys((*LIBRARIES, "var/lib/dpkg/status"))})
    assert (found["TensorRT"].state, found["TensorRT"].found) == ("ok", "10.3.0: parser, builder and Python module")


def test_tensorrt_11_4_1_is_for_agx_orin_and_thor(diagnosis):
    _, found = diagnosis({**ORIN_7, "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0", "var/lib/dpkg/status": dpkg("11.4.1.1")}, "11.4.1")
    assert found["TensorRT"].state == "ok"


def test_a_container_that_hides_the_release(diagnosis):
    made, found = diagnosis({**NANO, **DOCKER, "etc/nv_tegra_release": None})
    assert made.target == "cpu"
    assert found["Jetson Linux"].state == "missing"
    assert found["Jetson Linux"].fix == "start the container with -v /etc/nv_tegra_release:/etc/nv_tegra_release:ro"


def test_a_container_that_hides_the_board(diagnosis):
    made, found = diagnosis({**NANO, **DOCKER, "dev/nvhost-gpu": None, "usr/local/cuda/version.json": None}, "11.2.1")
    assert made.target == "jetson"
    assert "board" not in found
    assert (found["container"].found, found["container"].fix) == ("docker, without the GPU's devices", "start it with --runtime nvidia")
    assert "l4t-jetpack:r36.4.0" in found["CUDA"].fix and "l4t-jetpack:r36.4.0" in found["TensorRT"].fix
    assert "sudo nvpmodel -q" in found["power mode"].fix


def test_a_power_mode_that_holds_it_back(diagnosis):
    _, found = diagnosis({**NANO, "var/lib/nvpmodel/status": "pmode:0000\n", "sys/class/devfreq/17000000.gpu/min_freq": "306000000"})
    assert (found["power mode"].found, found["power mode"].state) == ("15W, which limits the clocks; MAXN_SUPER does not", "warning")
    assert found["power mode"].fix.endswith("sudo nvpmodel -m 2")
    assert found["clocks"].fix.startswith("sudo jetson_clocks")


@pytest.mark.parametrize(
    ("meminfo", "fix"),
    [
        ("MemTotal: 7802836 kB\nMemAvailable: 5368004 kB\nSwapTotal: 0 kB\n", "swapon"),
        ("MemTotal: 7802836 kB\nMemAvailable: 500000 kB\nSwapTotal: 3901408 kB\n", "isolate multi-user.target"),
        ("MemTotal: 64349696 kB\nMemAvailable: 50000000 kB\nSwapTotal: 0 kB\n", ""),
    ],
)
def test_memory(diagnosis, meminfo, fix):
    _, found = diagnosis({**NANO, "proc/meminfo": meminfo})
    assert fix in found["memory"].fix and bool(fix) == (found["memory"].state == "warning")


def test_the_cpus_wheel_is_told_and_where_the_right_one_is(diagnosis):
    """This machine's onnxruntime is that very wheel."""
    _, found = diagnosis(NANO)
    assert found["ONNX Runtime on the GPU"].state == "warning"
    assert "the wheel for CPUs" in found["ONNX Runtime on the GPU"].found and "CPUExecutionProvider" in found["ONNX Runtime on the GPU"].found
    assert ORT_INDEX in found["ONNX Runtime on the GPU"].fix and ORT_INDEX.endswith("/+simple/")


@pytest.mark.parametrize(("files", "fix"), [({}, "sudo usermod -aG video,render $USER"), (DOCKER, "--group-add video --group-add")])
def test_a_user_without_the_groups_of_the_gpu(diagnosis, monkeypatch, files, fix):
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith(("nvmap", "renderD128")))
    _, found = diagnosis({**NANO, **files, "dev/nvmap": "", "dev/dri/renderD128": "", "dev/nvhost-gpu": ""})
    assert found["GPU devices"].found == "/dev/nvmap, /dev/dri/renderD128 may not be opened by this user: CUDA then finds no GPU"
    assert fix in found["GPU devices"].fix


def test_of_devices_that_can_be_opened_nothing_is_said(diagnosis):
    assert "GPU devices" not in diagnosis({**NANO, "dev/nvmap": ""})[1]


def test_a_pc_is_told_nothing_of_a_jetson(tmp_path):
    made = doctor(tree(tmp_path, {"proc/sys/kernel/osrelease": "6.8.0-45-generic\n", "proc/device-tree/model": "NVIDIA Jetson Orin Nano\0"}))
    names = {one.name for one in made.findings}
    assert not names & {"board", "Jetson Linux", "CUDA", "TensorRT", "power mode", "clocks", "container", "GPU kernel", "ONNX Runtime on the GPU"}
    assert "sudo nvpmodel" not in json.dumps(made.model_dump(mode="json"))


@pytest.mark.full
def test_every_known_release_is_recognised(diagnosis):
    for one in RELEASES:
        if one.l4t_low is not None:
            major, _, revision = one.l4t_low.partition(".")
            _, found = diagnosis(
                {**NANO, "etc/nv_tegra_release": release(major, revision if "." in revision else f"{revision}.0"), "proc/device-tree/model": None}
            )
            assert found["Jetson Linux"].found.startswith(f"{one.l4t_low}") and f"JetPack {one.jetpack}" in found["Jetson Linux"].found
