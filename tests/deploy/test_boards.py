"""The targets of NVIDIA's boards: what they state is what the table of its releases says, and each is recognised where it is."""

from __future__ import annotations

import platform

import pytest
from system_tree import tree

from mmedge import catalog
from mmedge.backends.tensorrt.versions import ALL, ORIN, ORIN_CAPABILITY, RELEASES, TENSORRT, THOR_CAPABILITY, within
from mmedge.target import Target

JETSONS = ["jetson", "jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "jetson-thor"]
GPUS = [*JETSONS, "nvidia", "rtx"]


def test_every_line_of_boards_has_its_target():
    assert sorted(name for name in catalog.names("targets") if Target.load(name).boards) == sorted(JETSONS)
    assert {name: Target.load(name).boards for name in JETSONS} == {"jetson": ALL, **{f"jetson-{board}": (board,) for board in ALL}}


@pytest.mark.parametrize("name", JETSONS)
def test_a_target_knows_its_boards_releases_and_no_other(name):
    target = Target.load(name)
    for release in RELEASES:
        if release.l4t_low and release.l4t_high:
            known = [any(within(end, low, high) for low, high in target.l4t) for end in (release.l4t_low, release.l4t_high)]
            assert known == [bool(set(release.boards) & set(target.boards))] * 2, release.jetpack
    ends = {end for release in RELEASES for end in (release.l4t_low, release.l4t_high)}
    assert {end for pair in target.l4t for end in pair} <= ends


@pytest.mark.parametrize("name", JETSONS)
def test_a_target_has_its_boards_capability_and_dla(name):
    target = Target.load(name)
    orin, thor = bool(set(target.boards) & set(ORIN)), "thor" in target.boards
    assert target.compute_capability == ((ORIN_CAPABILITY,) if orin else ()) + ((THOR_CAPABILITY,) if thor else ())
    assert target.dla_cores == min({"orin-nano": 0, "orin-nx": 1, "agx-orin": 2, "thor": 0}[board] for board in target.boards)
    if len(target.boards) == 1:
        assert bool(target.dla_cores) == any(set(target.boards) <= set(row.dla) for row in TENSORRT)


def test_the_common_form_takes_the_least_of_all():
    common, *boards = map(Target.load, JETSONS)
    for limit in ("memory_mb", "max_opset", "max_ir", "dla_cores"):
        assert getattr(common, limit) == min(getattr(board, limit) for board in boards), limit
    assert {board.cache for board in boards} == {common.cache} == {"fixed"}
    assert all(board.precisions == common.precisions and board.options == common.options and board.backends == common.backends for board in boards)


@pytest.mark.parametrize("name", GPUS)
def test_what_was_never_run_is_said(name):
    target = Target.load(name)
    assert target.build_on == "device"
    assert "Never run on a" in target.notes
    assert "no engine was opened" in target.notes
    assert target.precisions["tensorrt"] == ("fp16", "fp32")


L4T = {"etc/nv_tegra_release": b"# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64\n"}
DRIVER = {"proc/driver/nvidia/version": b"NVRM version\n"}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (b"NVIDIA Jetson Orin Nano Developer Kit\0", "jetson-orin-nano"),
        (b"NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0", "jetson-orin-nano"),
        (b"NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0", "jetson-orin-nx"),
        (b"NVIDIA Jetson AGX Orin Developer Kit\0", "jetson-agx-orin"),
        (b"NVIDIA Jetson AGX Thor Developer Kit\0", "jetson-thor"),
        (b"Somebody's own carrier\0", "jetson"),
        (b"\xff\xfe", "jetson"),
        (None, "jetson"),
    ],
)
def test_a_board_is_recognised_by_its_name(monkeypatch, tmp_path, model, name):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert Target.detected(tree(tmp_path, L4T if model is None else {**L4T, "proc/device-tree/model": model})).name == name


def test_a_name_alone_is_no_jetson(monkeypatch, tmp_path):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert Target.detected(tree(tmp_path, {"proc/device-tree/model": b"NVIDIA Jetson Orin Nano Developer Kit\0"})).name == "cpu"


@pytest.mark.parametrize(
    ("files", "modules", "name"),
    [
        (DRIVER, {"tensorrt", "tensorrt_rtx_bindings", "openvino"}, "nvidia"),
        (DRIVER, {"tensorrt_rtx_bindings", "openvino"}, "rtx"),
        (DRIVER, {"openvino"}, "intel-cpu"),
        ({}, {"tensorrt", "tensorrt_rtx_bindings"}, "cpu"),
    ],
)
def test_a_gpu_in_a_pc_needs_its_driver_and_a_tensorrt(monkeypatch, tmp_path, files, modules, name):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr("mmedge.target.have", lambda module: module in modules)
    assert Target.detected(tree(tmp_path, files)).name == name
