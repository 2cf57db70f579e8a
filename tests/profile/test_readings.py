from __future__ import annotations

import os
import sys
import threading
from collections import namedtuple

import psutil
import pytest
from system_tree import tree

from mmedge.profile import readings
from mmedge.profile.readings import Watch, watch

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class World:
    """A fake machine whose kernel counts what a script says: time passes only when somebody sleeps."""

    def __init__(self, root, monkeypatch):
        self.root, self.now_s = root, 100.0
        self.user_s, self.idle_s, self.steal_s, self.ours_s = 50.0, 500.0, 1.0, 20.0
        self.slow = iter((1.0, 1.4))
        self.rates = {"user_s": 0.0, "idle_s": 2.0, "steal_s": 0.0, "ours_s": 0.0}
        memory = {"MemTotal": 4194304, "MemFree": 1048576, "MemAvailable": 2097152, "Cached": 0, "Buffers": 0, "Shmem": 0, "Active": 0, "Inactive": 0}
        tree(root, {"proc/meminfo": "".join(f"{name}: {kb} kB\n" for name, kb in memory.items())})
        self.sleep(0.0)
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(root / "proc"))
        monkeypatch.setattr(readings, "meter", lambda: "no meter: not of interest")

    def sleep(self, seconds):
        self.now_s += seconds
        for name, rate in self.rates.items():
            setattr(self, name, getattr(self, name) + rate * seconds)
        ticks = {name: round(getattr(self, name) * TICKS) for name in self.rates}
        # user nice system idle iowait irq softirq steal guest guest_nice
        stat = f"cpu  {ticks['user_s']} 0 0 {ticks['idle_s']} 0 0 0 {ticks['steal_s']} 0 0\nbtime 1700000000\n"
        own = f"{os.getpid()} (python) R 1 1 1 0 -1 0 0 0 0 0 {ticks['ours_s']} 0 0 0 20 0 1 0 4242 0 0 " + "0 " * 28
        tree(self.root, {"proc/stat": stat, f"proc/{os.getpid()}/stat": own})

    def watch(self):
        return Watch(self.root, lambda: self.now_s, self.sleep, lambda: {"arithmetic": next(self.slow)})


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    return World(tmp_path, monkeypatch)


def test_a_burner_beside_us_is_others_and_our_own_work_is_not(world):
    with world.watch() as watching:
        world.rates = {"user_s": 1.75, "idle_s": 0.0, "steal_s": 0.25, "ours_s": 1.0}  # we use one core, a burner three quarters of one
        world.sleep(4.0)
        world.rates = {"user_s": 0.5, "idle_s": 1.5, "steal_s": 0.0, "ours_s": 0.0}
    made = watching.conditions
    assert (made.before.others, made.during.others, made.after.others) == (0.0, 0.75, 0.5)
    assert (made.before.steal, made.during.steal, made.after.steal) == (0.0, 0.125, 0.0)
    assert made.during.free_mb == 2048
    assert made.energy == "no meter: not of interest"
    assert [reading.slowdown for reading in (made.before, made.during, made.after)] == [{"arithmetic": 1.0}, {}, {"arithmetic": 1.4}]


def test_a_system_without_sensors_tells_null(world):
    with world.watch() as watching:
        world.sleep(1.0)
    made = watching.conditions
    assert (made.during.temperature_c, made.during.clock_mhz, made.governor, made.power_mode) == (None, None, None, None)


def zone(number, kind, millidegrees):
    return {f"sys/class/thermal/thermal_zone{number}/type": kind, f"sys/class/thermal/thermal_zone{number}/temp": str(millidegrees)}


def clock(core, khz):
    return {f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq": str(khz)}


def test_the_hottest_zone_and_the_mean_clock_of_our_cores(world):
    cold = zone(0, "cpu-thermal", 41000) | zone(1, "gpu-thermal", 40500) | zone(2, "cv0-thermal", -256000) | zone(3, "iwlwifi_1", 90000)
    tree(world.root, cold | clock(0, 2000000) | clock(1, 1000000) | clock(2, 9000000) | {"sys/class/hwmon/hwmon0/name": "k10temp"})
    tree(world.root, {"sys/class/hwmon/hwmon0/temp1_input": "30000", "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil"})
    with world.watch() as watching:
        world.sleep(1.0)
        tree(world.root, zone(1, "gpu-thermal", 70500) | clock(0, 1000000))
    made = watching.conditions
    assert (made.before.temperature_c, made.during.temperature_c, made.after.temperature_c) == (41.0, 70.5, 70.5)
    assert (made.before.clock_mhz, made.during.clock_mhz) == (1500.0, 1000.0)
    assert made.governor == "schedutil"


def test_a_peak_in_the_middle_is_seen(world, monkeypatch):
    monkeypatch.setattr(readings, "PERIOD_S", 0.001)
    sampled = threading.Event()
    tree(world.root, zone(0, "cpu-thermal", 40000))
    with world.watch() as watching:
        tree(world.root, zone(0, "cpu-thermal", 95000))
        real = watching._sample
        watching._sample = lambda: (real(), sampled.set())[0]
        assert sampled.wait(10)
        sampled.clear()
        assert sampled.wait(10)  # the second began after the peak was written
        tree(world.root, zone(0, "cpu-thermal", 50000))
    assert (watching.conditions.during.temperature_c, watching.conditions.after.temperature_c) == (95.0, 50.0)


def test_a_kernel_without_steal_tells_null_for_it(world, monkeypatch):
    old = namedtuple("old", "user nice system idle")
    monkeypatch.setattr(psutil, "cpu_times", lambda: old(world.user_s, 0.0, 0.0, world.idle_s))
    with world.watch() as watching:
        world.rates["user_s"] = 1.0
        world.sleep(2.0)
    assert (watching.conditions.during.steal, watching.conditions.during.others) == (None, 1.0)


def test_a_sandbox_whose_kernel_counts_nothing_tells_null(world, monkeypatch):
    still = psutil.cpu_times()
    monkeypatch.setattr(psutil, "cpu_times", lambda: still)
    with world.watch() as watching:
        world.sleep(2.0)
    assert (watching.conditions.during.steal, watching.conditions.during.others) == (None, None)


def test_the_error_of_the_block_comes_out_and_the_thread_ends(world):
    with pytest.raises(KeyboardInterrupt), world.watch():
        raise KeyboardInterrupt
    assert "readings" not in {thread.name for thread in threading.enumerate()}


def test_work_of_our_children_is_ours(monkeypatch):
    """On the real machine, with a child that has already ended: /proc knows its time from its parent."""
    spent = psutil.Process()
    before_s = readings._tree_s(spent)
    burn = "import time\nuntil = time.process_time() + 0.3\nwhile time.process_time() < until: pass"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", burn]) == 0
    assert readings._tree_s(spent) - before_s >= 0.28


def test_the_real_machine_is_watched():
    with watch() as watching:
        pass
    made = watching.conditions
    assert made.during.free_mb > 0
    assert made.before.others is None or made.before.others >= 0
    assert made.energy
