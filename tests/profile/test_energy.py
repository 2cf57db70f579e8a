from __future__ import annotations

import errno
import math
import time
from pathlib import Path

import pytest
from system_tree import tree

from mmedge.profile.energy import Rails, chosen, find, tegrastats_w


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def rapl(zone, name, uj, range_uj=1000_000_000):
    folder = f"sys/class/powercap/{zone}"
    return {f"{folder}/name": name, f"{folder}/energy_uj": str(uj), f"{folder}/max_energy_range_uj": str(range_uj)}


SERVER = (
    rapl("intel-rapl:0", "package-0", 500_000_000)
    | rapl("intel-rapl:0:0", "core", 400_000_000)
    | rapl("intel-rapl:0:1", "dram", 100_000_000)
    | rapl("intel-rapl:1", "package-1", 999_000_000)
    | rapl("intel-rapl:2", "psys", 900_000_000)
    | rapl("intel-rapl-mmio:0", "package-0", 500_000_000)
)


def test_rapl_adds_packages_and_memory_and_nothing_twice(tmp_path):
    meter = find(tree(tmp_path, SERVER))
    assert meter.name == "RAPL package-0 + package-1 + dram"
    before_j = meter.read_j()
    tree(
        tmp_path,
        rapl("intel-rapl:0", "package-0", 503_000_000)
        | rapl("intel-rapl:0:0", "core", 450_000_000)
        | rapl("intel-rapl:0:1", "dram", 100_500_000)
        | rapl("intel-rapl:2", "psys", 990_000_000)
        | rapl("intel-rapl-mmio:0", "package-0", 503_000_000),
    )
    assert meter.read_j() - before_j == pytest.approx(3.5)


def test_rapl_counters_wrap_around(tmp_path):
    meter = find(tree(tmp_path, SERVER))
    before_j = meter.read_j()
    tree(tmp_path, rapl("intel-rapl:1", "package-1", 2_000_000))
    assert meter.read_j() - before_j == pytest.approx(3.0)
    tree(tmp_path, rapl("intel-rapl:1", "package-1", 4_000_000))
    assert meter.read_j() - before_j == pytest.approx(5.0)


def test_rapl_that_only_root_may_read_says_how_to_allow_it(tmp_path, monkeypatch):
    tree(tmp_path, SERVER)
    real = Path.read_text

    def read_text(path, *arguments, **options):
        if path.name == "energy_uj":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert "RAPL is readable by root only (until the next start: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj)" in find(tmp_path)


def test_rapl_that_never_counted_is_no_meter(tmp_path):
    assert "RAPL counts nothing here" in find(tree(tmp_path, rapl("intel-rapl:0", "package-0", 0)))


def test_rapl_that_goes_away_is_not_a_number(tmp_path):
    meter = find(tree(tmp_path, SERVER))
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    assert math.isnan(meter.read_j())


def ina3221(number, rails):
    """A chip with three channels, as the kernel shows it; ``rails`` are (label, mV, mA)."""
    folder = f"sys/class/hwmon/hwmon{number}"
    files = {f"{folder}/name": "ina3221", f"{folder}/in7_label": "sum of shunt voltages", f"{folder}/in7_input": "9"}
    for channel, (label, mv, ma) in enumerate(rails, 1):
        files |= {f"{folder}/in{channel}_label": label, f"{folder}/in{channel}_input": str(mv), f"{folder}/curr{channel}_input": str(ma)}
    return files


def test_the_rail_that_feeds_the_board_is_integrated_over_time(tmp_path):
    clock = Clock()
    rails = [("VDD_IN", 5000, 1000), ("VDD_CPU_GPU_CV", 5000, 300), ("VDD_SOC", 5000, 200)]
    meter = find(tree(tmp_path, ina3221(1, rails)), clock)
    assert meter.name == "ina3221: VDD_IN"
    assert meter.read_j() == 0
    clock.now_s = 2.0
    assert meter.read_j() == pytest.approx(10.0)
    tree(tmp_path, ina3221(1, [("VDD_IN", 5000, 3000), *rails[1:]]))
    clock.now_s = 3.0
    assert meter.read_j() == pytest.approx(20.0)  # a straight line from 5 to 15 W


def test_a_board_without_such_a_rail_is_the_sum_of_those_beside_each_other(tmp_path):
    clock = Clock()
    orin = ina3221(1, [("VDD_GPU_SOC", 20000, 100), ("VDD_CPU_CV", 20000, 50), ("VIN_SYS_5V0", 5000, 400)])
    meter = find(tree(tmp_path, orin | ina3221(2, [("NC", 5000, 9999), ("VDDQ_VDD2_1V8AO", 5000, 100), ("NC", 0, 0)])), clock)
    assert meter.name == "ina3221: VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
    clock.now_s = 1.0
    assert meter.read_j() == pytest.approx(5.0)


def test_thor_has_its_input_on_a_chip_of_its_own(tmp_path):
    clock = Clock()
    thor = ina3221(1, [("VDD_GPU", 20000, 100), ("VDD_CPU_SOC_MSS", 20000, 50), ("VIN_SYS_5V0", 5000, 400)])
    ina238 = {"name": "ina238", "label": "VIN", "power1_input": "23000000", "in0_input": "1", "in1_input": "20000", "curr1_input": "1150"}
    meter = find(tree(tmp_path, thor | {f"sys/class/hwmon/hwmon2/{name}": content for name, content in ina238.items()}), clock)
    assert meter.name == "ina238: VIN"
    clock.now_s = 2.0
    assert meter.read_j() == pytest.approx(46.0)


def test_rails_that_are_there_and_do_not_answer_are_told_as_such(tmp_path):
    tree(tmp_path, ina3221(1, [("VDD_IN", "", 1000)]))
    assert "the power rails VDD_IN do not answer" in find(tmp_path)


def test_the_power_of_a_part_and_a_battery_are_no_meter(tmp_path):
    files = {"hwmon0/name": "amdgpu", "hwmon0/power1_average": "9000000", "hwmon1/name": "BAT0", "hwmon1/power1_input": "8000000"}
    files |= {"hwmon1/in0_input": "12000", "hwmon1/curr1_input": "500"}
    tree(tmp_path, {f"sys/class/hwmon/{name}": content for name, content in files.items()} | {"sys/class/power_supply/BAT0/power_now": "8000000"})
    assert find(tmp_path) == "no meter: no RAPL, no power rail in /sys/class/hwmon, no tegrastats"


def test_the_only_rail_may_be_unnamed_but_several_are_not_added_blindly(tmp_path):
    def chip(number):
        return {f"sys/class/hwmon/hwmon{number}/{name}": text for name, text in {"name": "ina219", "in1_input": "5000", "curr1_input": "800"}.items()}

    clock = Clock()
    meter = find(tree(tmp_path, chip(0)), clock)
    clock.now_s = 1.0
    assert (meter.name, meter.read_j()) == ("ina219: its only rail", pytest.approx(4.0))
    assert "2 power rails in /sys/class/hwmon, none of them named" in find(tree(tmp_path, chip(1)))


def test_acpi_measures_a_whole_machine(tmp_path):
    clock = Clock()
    meter = find(tree(tmp_path, {"sys/class/hwmon/hwmon3/name": "power_meter", "sys/class/hwmon/hwmon3/power1_average": "120000000"}), clock)
    clock.now_s = 0.5
    assert (meter.name, meter.read_j()) == ("power_meter: its only rail", pytest.approx(60.0))


def test_rails_that_fall_silent_are_not_a_number_and_a_short_gap_is_bridged():
    clock, answers = Clock(), iter([10.0, OSError(), 10.0, OSError(), 10.0])

    def power_w():
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    meter = Rails("a rail", power_w, clock)
    clock.now_s = 0.5
    assert meter.read_j() == 0
    clock.now_s = 1.0
    assert meter.read_j() == pytest.approx(10.0)
    clock.now_s = 3.0
    assert math.isnan(meter.read_j())
    assert math.isnan(meter.read_j())


ORIN_LINE = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) SWAP 0/31409MB (cached 0MB) CPU [23%@2201,off] EMC_FREQ 3%@3199 GR3D_FREQ 12%@[1300,1300] APE 174 "
    "cpu@52.968C tj@53C VDD_GPU_SOC 5139mW/5100mW/5139mW VDD_CPU_CV 3268mW/3268mW/3268mW VIN_SYS_5V0 5500mW/5500mW/5500mW"
)
NANO_LINE = "RAM 2448/7620MB (lfb 4x4MB) CPU [5%@729] cpu@45.2C VDD_IN 4568mW/4600mW VDD_CPU_GPU_CV 644mW/644mW VDD_SOC 1370mW/1370mW"


def test_lines_of_tegrastats():
    assert tegrastats_w(ORIN_LINE) == {"VDD_GPU_SOC": 5.139, "VDD_CPU_CV": 3.268, "VIN_SYS_5V0": 5.5}
    assert chosen(tuple(tegrastats_w(NANO_LINE))) == ("VDD_IN",)
    assert tegrastats_w("RAM 4722/7844MB (lfb 1x512kB) EMC_FREQ 2%@1866") == {}


def program(root, script):
    path = tree(root, {"usr/bin/tegrastats": f"#!/bin/sh\n{script}\n"}) / "usr/bin/tegrastats"
    path.chmod(0o755)
    return root


def test_tegrastats_is_asked_where_no_rail_can_be_read(tmp_path):
    clock = Clock()
    meter = find(program(tmp_path, f'[ "$1 $2" = "--interval 100" ] && echo "{NANO_LINE}" && exec sleep 60'), clock)
    assert meter.name == "tegrastats: VDD_IN"
    clock.now_s = 1.0
    assert meter.read_j() == pytest.approx(4.568)


def test_a_tegrastats_that_ends_is_not_a_number(tmp_path):
    clock = Clock()
    meter = find(program(tmp_path, f'echo "{NANO_LINE}"; sleep 0.3'), clock)
    deadline_s = time.monotonic() + 10
    while not math.isnan(meter.read_j()) and time.monotonic() < deadline_s:
        clock.now_s += 2.0
        time.sleep(0.02)
    assert math.isnan(meter.read_j())


@pytest.mark.parametrize("script", ["echo RAM 1/2MB; exec sleep 60", "exit 1"])
def test_a_tegrastats_without_power_is_no_meter(tmp_path, script):
    assert "tegrastats shows no power rail" in find(program(tmp_path, script))


def test_a_tegrastats_that_cannot_run_is_no_meter(tmp_path):
    assert "tegrastats does not start" in find(tree(tmp_path, {"usr/bin/tegrastats": "not a program"}))
