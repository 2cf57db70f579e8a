"""Energy, where something in the machine measures it: a counter, or rails whose power is read. Never a guess from a data sheet.

What is measured is the whole package, module or board, with everything that runs on it; a difference between two readings says so of an interval.
A battery is no meter: its own estimate changes every few seconds.
"""

from __future__ import annotations

import functools
import math
import re
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mmedge.profile.machine import SYSTEM, listed, number, text

Now = Callable[[], float]

PERIOD_S = 0.1
"""Between two readings of the rails: each asks a chip over a slow bus."""
SILENT_S = 1.0
"""Rails that could not be read for longer were not measured."""
FIRST_LINE_S = 3.0
"""How long tegrastats may take to begin."""

TOTALS = ("VDD_IN", "POM_5V_IN", "5V_IN", "VIN", "TOTAL")
"""Rails that everything else on the board hangs on: Jetson Orin Nano, Orin NX and Xavier NX; Nano; Thor."""
INSIDE = re.compile(r"NC|sum of shunt voltages|VDDQ_VDD2_1V8AO", re.IGNORECASE)
"""What is not to be added to the others: not connected, no rail, or (AGX Orin's memory) fed by VIN_SYS_5V0."""
WHOLE = ("power_meter",)
"""Chips that measure the whole machine: ACPI's power meter. The power of a graphics card or a power supply is that of a part."""


class Meter(Protocol):
    """Something that counts the energy used."""

    name: str

    def read_j(self) -> float:
        """Joules since some moment of the past. NaN from then on, if it no longer answers: so is every difference with it."""
        ...


@functools.cache
def meter() -> Meter | str:
    """The machine's meter, or why there is none. One for the whole process: where rails are read, by a thread that ends with it."""
    found = find(SYSTEM)
    if isinstance(found, Rails):
        threading.Thread(target=found.keep_reading, name="energy", daemon=True).start()
    return found


def find(root: Path, now_s: Now = time.perf_counter) -> Meter | str:
    """The best meter among the system's files at ``root``; the power of rails is only added up when somebody reads them (see ``meter``)."""
    reasons = []
    for look in (_rapl, _rails, _tegrastats):
        found = look(root, now_s)
        if not isinstance(found, str):
            return found
        reasons.append(found)
    return f"no meter: {', '.join(reasons)}"


class Rapl:
    """The counters of a CPU's packages and its memory, in microjoules; each begins again at a value of its own.

    A counter may wrap around once between two readings: at 300 W, that takes minutes.
    """

    def __init__(self, zones: Sequence[Path]) -> None:
        self.name = f"RAPL {' + '.join(dict.fromkeys(text(zone / 'name') or zone.name for zone in zones))}"
        self._ranges_uj = {zone: number(zone / "max_energy_range_uj") or 0 for zone in zones}
        self._last_uj = {zone: _counter(zone) for zone in zones}
        self._joules = 0.0

    def read_j(self) -> float:
        for zone, range_uj in self._ranges_uj.items():
            try:
                now_uj = _counter(zone)
            except (OSError, ValueError):
                self._joules = math.nan
                break
            passed_uj = now_uj - self._last_uj[zone]
            self._joules += (passed_uj if passed_uj >= 0 else passed_uj + range_uj) / 1e6
            self._last_uj[zone] = now_uj
        return self._joules


class Rails:
    """Energy from power: straight lines between its readings."""

    def __init__(self, name: str, power_w: Callable[[], float], now_s: Now) -> None:
        self.name = name
        self._power_w, self._now_s = power_w, now_s
        self._lock = threading.Lock()
        self._joules = 0.0
        self._last = (now_s(), power_w())

    def read_j(self) -> float:
        with self._lock:
            at_s, last_w = self._last
            try:
                now_w = self._power_w()
            except (OSError, ValueError):  # ValueError: an empty file
                if self._now_s() - at_s > SILENT_S:
                    self._joules = math.nan
                return self._joules
            now_s = self._now_s()
            self._joules += (now_s - at_s) * (last_w + now_w) / 2
            self._last = (now_s, now_w)
            return self._joules

    def keep_reading(self) -> None:
        """Forever: what the rails carry between two questions must be seen."""
        while True:
            time.sleep(PERIOD_S)
            self.read_j()


def tegrastats_w(line: str) -> dict[str, float]:
    """Watts by rail from a line of tegrastats: ``VDD_IN 5120mW/4980mW`` is now and on average."""
    return {name: int(now_mw) / 1e3 for name, now_mw in re.findall(r"(\w+) (-?\d+)mW/", line)}


def chosen(rails: Sequence[str]) -> tuple[str, ...]:
    """Those whose sum is the most that is measured, and nothing twice: the one all others hang on, or all that stand beside each other."""
    totals = [name for name in rails if name.upper() in TOTALS]
    return tuple(totals[:1]) or tuple(name for name in rails if not INSIDE.fullmatch(name))


def _rapl(root: Path, now_s: Now) -> Meter | str:
    folders = listed(root / "sys/class/powercap")
    for kind in ("intel-rapl", "intel-rapl-mmio"):  # the second counts the same packages again
        zones = [folder for folder in folders if folder.name.startswith(f"{kind}:")]
        packages = [zone for zone in zones if (text(zone / "name") or "").startswith("package")]
        memory = [zone for zone in zones if text(zone / "name") == "dram"]
        if not packages:
            continue
        try:
            made = Rapl(packages + memory)
        except PermissionError:
            return f"RAPL is readable by root only (until the next start: sudo chmod a+r /sys/class/powercap/{kind}:*/energy_uj)"
        except (OSError, ValueError) as error:
            return f"RAPL does not answer ({error})"
        return made if any(_counter(zone) for zone in packages) else "RAPL counts nothing here"
    return "no RAPL"


def _counter(zone: Path) -> int:
    return int((zone / "energy_uj").read_text())


def _rails(root: Path, now_s: Now) -> Meter | str:
    """The channels of the chips that a board has on its supply rails, or ACPI's meter of a whole machine."""
    named: dict[str, Channel] = {}
    unnamed: list[Channel] = []
    for folder in listed(root / "sys/class/hwmon"):
        chip = text(folder / "name") or ""
        if re.match(r"ina\d", chip) or chip in WHOLE:
            for label, channel in _channels(folder, chip):
                if label:
                    named[label] = channel
                else:
                    unnamed.append(channel)
    if not named and len(unnamed) == 1:
        named = {"its only rail": unnamed[0]}
    wanted = chosen(tuple(named))
    if not wanted:
        return "no power rail in /sys/class/hwmon" if not unnamed else f"{len(unnamed)} power rails in /sys/class/hwmon, none of them named"
    chips = " and ".join(dict.fromkeys(named[name].chip for name in wanted))
    try:
        return Rails(f"{chips}: {' + '.join(wanted)}", lambda: sum(named[name].read_w() for name in wanted), now_s)
    except (OSError, ValueError) as error:
        return f"the power rails {', '.join(wanted)} do not answer ({error})"


@dataclass(frozen=True)
class Channel:
    """A rail as its chip measures it: its power in microwatts, or millivolts and milliamperes."""

    chip: str
    files: tuple[Path, ...]

    def read_w(self) -> float:
        values = [int(path.read_text()) for path in self.files]
        return math.prod(values) / 1e6


def _channels(folder: Path, chip: str) -> list[tuple[str | None, Channel]]:
    """With the label of each. A chip that measures power itself has one."""
    for name in ("power1_input", "power1_average"):
        if (folder / name).exists():
            return [(text(folder / "label") or text(folder / "in1_label"), Channel(chip, (folder / name,)))]
    found: list[tuple[str | None, Channel]] = []
    for current in sorted(folder.glob("curr*_input")):
        index = current.name[len("curr") : -len("_input")]
        voltage = folder / f"in{index}_input"
        if voltage.exists():
            found.append((text(folder / f"in{index}_label"), Channel(chip, (voltage, current))))
    return found


def _tegrastats(root: Path, now_s: Now) -> Meter | str:
    program = root / "usr/bin/tegrastats"
    if not program.exists():
        return "no tegrastats"
    try:
        running = subprocess.Popen([program, "--interval", "100"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError as error:
        return f"tegrastats does not start ({error.strerror})"
    told = Told(running)
    if not told.began.wait(FIRST_LINE_S) or not told.wanted:
        running.kill()
        return "tegrastats shows no power rail" if told.began.is_set() else "tegrastats says nothing"
    return Rails(f"tegrastats: {' + '.join(told.wanted)}", told.power_w, now_s)


class Told:
    """What a running tegrastats said last. It ends soon after this process does: nobody reads its lines then."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        self._running = running
        self._watts: float | None = None
        self.wanted: tuple[str, ...] = ()
        self.began = threading.Event()
        threading.Thread(target=self._listen, name="tegrastats", daemon=True).start()

    def _listen(self) -> None:
        for line in self._running.stdout or ():
            rails = tegrastats_w(line)
            self.wanted = self.wanted or chosen(tuple(rails))
            if self.wanted and all(name in rails for name in self.wanted):
                self._watts = sum(rails[name] for name in self.wanted)
            self.began.set()
        self._watts = None
        self.began.set()
        self._running.wait()

    def power_w(self) -> float:
        if self._watts is None:
            raise OSError("tegrastats ended")
        return self._watts
