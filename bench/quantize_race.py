"""Contenders for one graph, each in a process of its own, timed in turns: ``quantize_race.py SPEC`` is such a process."""

from __future__ import annotations

import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PAUSE_S = 0.02
FEWEST = 5
"""Calls of a block, at least; the first of them is not counted."""


@dataclass(frozen=True)
class Contender:
    """A graph, or a file that stands for it, as it is opened."""

    label: str
    bundle: str
    role: str
    key: str
    target: str
    backend: str
    precision: str
    feeds: str
    """A file with the inputs of one run."""
    file: str = ""
    """Empty: the graph itself."""
    command: tuple[str, ...] = ()
    """Of one that is opened by its own tool; empty: by mmedge's runner."""


def work(contender: Contender) -> None:
    """A line of JSON for each line on stdin: the median milliseconds of a run over some time. Whatever a runtime prints goes to stderr."""
    from quantize_models import loaded, open_file

    from mmedge.bundle import Bundle
    from mmedge.target import Target

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    bundle, target, feeds = Bundle.open(contender.bundle), Target.load(contender.target), loaded(Path(contender.feeds))
    file = Path(contender.file) if contender.file else None
    placed = contender.precision == "placed"
    graph = bundle.graph(contender.role, contender.key)
    opened = bundle.runner(contender.role, contender.key, target) if placed else open_file(graph, contender.backend, file, contender.precision, target)
    with opened as runner:
        for line in sys.stdin:
            answers.write(json.dumps(block(lambda: runner.run(feeds), float(line))) + "\n")
            answers.flush()


def block(run: Any, seconds: float) -> float:
    spent: list[float] = []
    until = time.perf_counter() + seconds
    while len(spent) < FEWEST or time.perf_counter() < until:
        begin = time.perf_counter()
        run()
        spent.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(spent[1:])


class Worker:
    """A contender's process."""

    def __init__(self, contender: Contender) -> None:
        self._label = contender.label
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        command = contender.command or (sys.executable, __file__, json.dumps(asdict(contender)))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True)

    def ms(self, seconds: float) -> float:
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{seconds}\n")
            self._process.stdin.flush()
        if not (answer := self._process.stdout.readline()):
            self._log.seek(0)
            raise RuntimeError(f"{self._label}: {self._log.read().strip()[-500:]}")
        return float(json.loads(answer))

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()
        self._log.close()


def race(contenders: Sequence[Contender], processes: int, blocks: int, seconds: float) -> Mapping[str, list[float]]:
    """Label -> milliseconds of each block, in the same order for all; each of ``processes`` is a new set of them."""
    found: dict[str, list[float]] = {one.label: [] for one in contenders}
    draw = random.Random(0)
    for _ in range(processes):
        with contextlib.ExitStack() as stack:
            workers = {one.label: stack.enter_context(Worker(one)) for one in contenders}
            for worker in workers.values():
                worker.ms(seconds)  # opened, and warm
            for _ in range(blocks):
                for label in draw.sample(list(workers), len(workers)):
                    time.sleep(PAUSE_S)
                    found[label].append(workers[label].ms(seconds))
    return found


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    work(Contender(**{**given, "command": tuple(given["command"])}))
