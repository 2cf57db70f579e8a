from __future__ import annotations

import os
import platform

import psutil
import pytest
from system_tree import tree

from mmedge.features import FLAGS
from mmedge.profile.machine import Machine, describe, machine

ORIN = {
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd aes asimdhp asimddp i8mm bf16 paca\nCPU implementer\t: 0x41\n",
    "proc/meminfo": "MemTotal:        7802836 kB\nMemFree:  100 kB\nSwapTotal:       3901416 kB\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n",
    "etc/nvpmodel.conf": (
        "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n< PM_CONFIG DEFAULT=1 >\n"
    ),
    "var/lib/nvpmodel/status": "pmode:0002\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "1020000000",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000",
    "sys/class/devfreq/memory/min_freq": "1",
    "sys/class/devfreq/memory/max_freq": "2",
}
LAPTOP = {
    "proc/cpuinfo": "model name\t: Some Laptop CPU\nflags\t\t: fpu sse2 avx2 fma f16c avx_vnni hypervisorx\n",
    "proc/meminfo": "MemTotal:       16000000 kB\nSwapTotal:             0 kB\n",
    "sys/firmware/acpi/platform_profile": "low-power\n",
    "sys/class/power_supply/AC/type": "Mains\n",
    "sys/class/power_supply/AC/online": "0\n",
    "sys/class/power_supply/BAT0/type": "Battery\n",
}


def frequency(core, lowest="100", highest="200", governor="schedutil"):
    folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
    return {f"{folder}/scaling_min_freq": lowest, f"{folder}/scaling_max_freq": highest, f"{folder}/scaling_governor": governor}


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4, 1})


@pytest.mark.usefixtures("two_cores")
def test_a_jetson_tells_its_board_release_and_power_mode(tmp_path):
    made = machine(tree(tmp_path, ORIN | frequency(1, "1728000", "1728000") | frequency(4, "1728000", "1728000")))
    assert (made.board, made.l4t, made.power_mode) == ("NVIDIA Jetson Orin Nano Developer Kit", "36.4.3", "MAXN_SUPER")
    assert (made.memory_mb, made.swap_mb) == (7619, 3809)
    assert made.flags == ("asimd", "asimddp", "asimdhp", "bf16", "i8mm")
    assert (made.affinity, made.cores, made.clocks_locked, made.governor) == ((1, 4), 2, True, "schedutil")
    line = describe(made)
    assert "\n" not in line
    assert line.startswith("NVIDIA Jetson Orin Nano Developer Kit, 2 cores, 7619 MB, MAXN_SUPER, ")
    assert "(L4T 36.4.3)" in line


@pytest.mark.usefixtures("two_cores")
def test_clocks_that_may_change_are_not_locked(tmp_path):
    locked = frequency(1, "5", "5") | frequency(4, "5", "5")
    assert machine(tree(tmp_path / "cpu", ORIN | locked | frequency(4))).clocks_locked is False
    assert machine(tree(tmp_path / "gpu", ORIN | locked | {"sys/class/devfreq/17000000.gpu/min_freq": "306000000"})).clocks_locked is False


def test_a_board_that_was_never_set_has_its_default_mode_and_an_unnamed_one_its_number(tmp_path):
    tree(tmp_path, {name: content for name, content in ORIN.items() if "status" not in name})
    assert machine(tmp_path).power_mode == "25W"
    tree(tmp_path, {"var/lib/nvpmodel/status": "pmode:0007\n"})
    assert machine(tmp_path).power_mode == "nvpmodel 7"


@pytest.mark.usefixtures("two_cores")
def test_a_laptop_tells_its_profile_and_that_it_is_not_plugged_in(tmp_path):
    made = machine(tree(tmp_path, LAPTOP | frequency(1, governor="powersave") | frequency(4, governor="performance")))
    assert (made.cpu, made.power_mode, made.governor) == ("Some Laptop CPU", "low-power, on battery", "powersave, performance")
    assert made.flags == ("avx2", "fma", "f16c", "avx_vnni")
    assert (made.board, made.l4t, made.clocks_locked, made.container, made.quota) == (None, None, False, None, None)
    tree(tmp_path, {"sys/class/power_supply/AC/online": "1\n"})
    assert machine(tmp_path).power_mode == "low-power"


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": 'engine="podman-5.0"'}, "podman"),
        ({".dockerenv": "", "proc/self/cgroup": "0::/kubepods.slice/kubepods-burstable.slice/cri-1.scope\n"}, "kubernetes"),
        ({"run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"proc/self/cgroup": "1:name=systemd:/lxc/box\n"}, "lxc"),
        ({"proc/self/cgroup": "0::/user.slice/session-1.scope\n"}, None),
    ],
)
def test_kinds_of_container(tmp_path, files, kind):
    assert machine(tree(tmp_path, files)).container == kind


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 0.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, None),
        (
            {
                "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "200000",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            },
            2.0,
        ),
        ({"proc/self/cgroup": "4:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, None),
        ({"proc/self/cgroup": "0::/../x\n"}, None),
    ],
)
def test_cpu_quota_of_control_groups(tmp_path, files, cores):
    made = machine(tree(tmp_path, files))
    assert made.quota == cores
    assert ("(quota 1.5)" in describe(made)) == (cores == 1.5)


def test_a_system_that_tells_nothing_is_null(tmp_path):
    made = machine(tmp_path)
    told = made.model_dump(exclude={"cpu", "cores", "system", "python", "load", "packages", "kernel", "affinity"})
    assert set(map(str, told.values())) == {"None", "()"}
    assert "\n" not in describe(made)


def test_this_machine_is_as_others_see_it():
    made = machine()
    assert made.cores == len(psutil.Process().cpu_affinity())
    assert made.memory_mb == psutil.virtual_memory().total >> 20
    assert made.swap_mb == psutil.swap_memory().total >> 20
    assert platform.release() in made.kernel
    assert set(made.flags) <= set(FLAGS)


def test_a_machine_of_the_first_report_is_read():
    old = {"cpu": "x", "cores": 2, "memory_mb": 1, "system": "Linux", "python": "3.11", "board": None, "load": 0.1, "packages": {"numpy": "2"}}
    made = Machine.model_validate(old)
    assert (made.quota, made.flags, made.container) == (None, (), None)
    assert describe(made) == "x, 2 cores, 1 MB, Linux, Python 3.11, numpy 2"
