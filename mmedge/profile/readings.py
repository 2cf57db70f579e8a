"""The machine before, during and after a measurement: what else ran on it, how hot it was, at which clock."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import TracebackType

import psutil

from mmedge.profile.energy import meter
from mmedge.profile.machine import SYSTEM, Conditions, Reading, affinity, frequencies, governor, listed, number, power_mode, text
from mmedge.profile.pace import slowdown

PERIOD_S = 0.5
QUIET_S = 0.2
"""How long the machine is looked at before and after, while this process rests: the kernel counts in hundredths of a second."""
ELSEWHERE = ("iwlwifi", "mt79", "ath1", "nvme", "BAT")
"""Thermal zones of radios, disks and batteries: not near the processor, and slow to ask."""
CPU_CHIPS = ("coretemp", "k10temp", "zenpower")
"""Processors' own sensors, where the system makes no thermal zone of them."""
CREDIBLE_C = (0.0, 150.0)
"""A sensor that sleeps tells nonsense."""


def watch() -> Watch:
    """Watch the machine: ``with watch() as watching: ...``, then ``watching.conditions``."""
    return Watch()


class Watch:
    """Takes a reading before, some in a thread while the block runs, one after. Costs about a thousandth of one core, and 0.5 s at the edges.

    ``conditions`` exists after the block, unless it ended with an error.

    Args:
        pace: how slow the machine is at a moment, as in ``Reading.slowdown``.
    """

    conditions: Conditions

    def __init__(
        self,
        root: Path = SYSTEM,
        now_s: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
        pace: Callable[[], dict[str, float]] = slowdown,
    ) -> None:
        self._root, self._now_s, self._sleep, self._pace = root, now_s, sleep, pace
        self._process = psutil.Process()
        self._cores = affinity()
        self._zones = _zones(root)
        self._samples: list[Sample] = []
        self._done = threading.Event()

    def __enter__(self) -> Watch:
        self._before, self._from = self._quiet()
        self._thread = threading.Thread(target=self._keep_sampling, name="readings", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        if kind is not None:
            return
        during = reading(self._from, self._counts(), [*self._samples, self._sample()])
        after, _ = self._quiet()
        gauge = meter()
        self.conditions = Conditions(
            before=self._before,
            during=during,
            after=after,
            governor=governor(self._root, self._cores),
            power_mode=power_mode(self._root),
            energy=gauge if isinstance(gauge, str) else gauge.name,
        )

    def _quiet(self) -> tuple[Reading, Counts]:
        begin = self._counts()
        self._sleep(QUIET_S)
        end = self._counts()
        quiet = reading(begin, end, [self._sample()]).model_copy(update={"slowdown": self._pace()})
        return quiet, self._counts()

    def _keep_sampling(self) -> None:
        while not self._done.wait(PERIOD_S):
            self._samples.append(self._sample())

    def _sample(self) -> Sample:
        temperatures = [value / 1e3 for zone in self._zones if (value := number(zone)) is not None]
        clocks = [value / 1e3 for core in self._cores if (value := number(frequencies(self._root, core) / "scaling_cur_freq")) is not None]
        with suppress(OSError):
            free_mb = psutil.virtual_memory().available / 2**20
            return Sample(_hottest(temperatures), fmean(clocks) if clocks else None, free_mb)
        return Sample(_hottest(temperatures), fmean(clocks) if clocks else None, None)

    def _counts(self) -> Counts:
        tree_s = _tree_s(self._process)
        try:
            times = psutil.cpu_times()
        except OSError:
            return Counts(self._now_s(), None, None, None, tree_s)
        steal_s = getattr(times, "steal", None)
        busy_s = times.user + times.nice + times.system + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0)
        return Counts(self._now_s(), busy_s, steal_s, busy_s + (steal_s or 0.0) + times.idle + getattr(times, "iowait", 0.0), tree_s)


@dataclass(frozen=True)
class Counts:
    """Seconds of CPU time, of all cores together, since the system started."""

    at_s: float
    busy_s: float | None
    """Guests' time is in it; what the hypervisor gave to others is not."""
    steal_s: float | None
    total_s: float | None
    tree_s: float
    """Of this process and its children."""


@dataclass(frozen=True)
class Sample:
    """What a sensor says at a moment."""

    temperature_c: float | None
    clock_mhz: float | None
    free_mb: float | None


def reading(begin: Counts, end: Counts, samples: Sequence[Sample]) -> Reading:
    """What happened between two moments: the highest temperature, the mean clock, the least free memory, and shares of the CPU time that passed."""
    steal = others = None
    if begin.total_s is not None and end.total_s is not None and end.total_s > begin.total_s and end.at_s > begin.at_s:
        if begin.steal_s is not None and end.steal_s is not None:
            steal = round(max(0.0, end.steal_s - begin.steal_s) / (end.total_s - begin.total_s), 4)
        if begin.busy_s is not None and end.busy_s is not None:
            ours_s = end.tree_s - begin.tree_s
            others = round(max(0.0, end.busy_s - begin.busy_s - ours_s) / (end.at_s - begin.at_s), 2)
    temperatures = [sample.temperature_c for sample in samples if sample.temperature_c is not None]
    clocks = [sample.clock_mhz for sample in samples if sample.clock_mhz is not None]
    free = [sample.free_mb for sample in samples if sample.free_mb is not None]
    return Reading(
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        steal=steal,
        others=others,
        temperature_c=max(temperatures) if temperatures else None,
        clock_mhz=round(fmean(clocks), 1) if clocks else None,
        free_mb=round(min(free), 1) if free else None,
    )


def _tree_s(process: psutil.Process) -> float:
    """CPU time of a process and all below it, those that ended included. Looking for them costs milliseconds: not for every sample."""
    total_s = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):  # it has just ended: its time is in its parent's
            times = one.cpu_times()
            total_s += times.user + times.system + times.children_user + times.children_system
    return total_s


def _zones(root: Path) -> list[Path]:
    """Files with millidegrees: thermal zones, and processors' own sensors."""
    zones = [
        zone / "temp"
        for zone in listed(root / "sys/class/thermal")
        if zone.name.startswith("thermal_zone") and not (text(zone / "type") or "").startswith(ELSEWHERE)
    ]
    chips = [chip for chip in listed(root / "sys/class/hwmon") if text(chip / "name") in CPU_CHIPS]
    return zones + [path for chip in chips for path in sorted(chip.glob("temp*_input"))]


def _hottest(temperatures_c: Sequence[float]) -> float | None:
    return max((value for value in temperatures_c if CREDIBLE_C[0] < value < CREDIBLE_C[1]), default=None)
