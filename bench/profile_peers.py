"""What ``mmedge profile`` says of a graph, against what others say of it: OpenVINO's benchmark_app, and a plain loop over onnxruntime.

``python bench/profile_peers.py [--bundle B] [--processes N] [--blocks N] [--seconds S] [--graph ROLE/NAME]``. For every graph of the shipped assistant on the
runtimes that its family wants it on, in fp32, on golden feeds and with the same threads. Each side is a process of its own; the two wait for each other and
take turns of a second or so, since a shared machine changes its speed within seconds; then two others, since what differs between processes (memory, where
threads land) must fall on both. Last, the time of each graph's operators against its whole. Writes ``bench/results/profile_peers.md``. Exit status 3 when a
bar is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import assistant_model
import environment
from pairs import ratio_in_pairs
from profile_peer import TARGETS, Case

from mmedge.bundle import Bundle
from mmedge.family import load_family
from mmedge.target import Target

PEERS = {"ort": "plain onnxruntime", "openvino": "benchmark_app"}
RATIO_BAR, SUM_BAR = (0.93, 1.07), 0.1
PAUSE_S = 0.05


class Worker:
    """A process that measures when it is asked to."""

    def __init__(self, what: str, case: Case, seconds: float) -> None:
        options = [what, "--bundle", case.bundle, "--graph", case.key, "--backend", case.backend, "--seconds", str(seconds)]
        self._what = f"{what} on {case.key}"
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        command = [sys.executable, str(Path(__file__).parent / "profile_peer.py"), *map(str, options)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True)

    def ask(self) -> Any:
        assert self._process.stdin and self._process.stdout
        time.sleep(PAUSE_S)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        if not (answer := self._process.stdout.readline()):
            self._log.seek(0)
            raise RuntimeError(f"{self._what}: {self._log.read().strip()[-500:]}")
        return json.loads(answer)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()
        self._log.close()


def pairs_of(case: Case, processes: int, blocks: int, seconds: float) -> tuple[list[float], list[float]]:
    """(ours, the peer's), milliseconds of each block."""
    found: dict[str, list[float]] = {"mmedge": [], PEERS[case.backend]: []}
    for _ in range(processes):
        with contextlib.ExitStack() as stack:
            workers = {who: stack.enter_context(Worker(who, case, seconds)) for who in found}
            for worker in workers.values():
                worker.ask()  # opened, and warm
            for block in range(blocks):
                for who in list(found) if block % 2 else reversed(list(found)):
                    found[who].append(workers[who].ask())
        print(f"{case.key} {case.backend}: {', '.join(f'{who} {statistics.median(ms[-blocks:]):.3f} ms' for who, ms in found.items())}", file=sys.stderr)
    return found["mmedge"], found[PEERS[case.backend]]


def report(cases: list[Case], processes: int, blocks: int, seconds: float) -> tuple[str, bool]:
    """(a text, whether the bars are kept)."""
    low_bar, high_bar = RATIO_BAR
    medians = ["| graph | peer | mmedge ms | peer ms | ratio | 95 % | |", "|---|---|---|---|---|---|---|"]
    sums = ["| graph | backend | operators | whole ms | sum ms | sum / whole | overhead by chains, ms | with it | |", "|---|---|---|---|---|---|---|---|---|"]
    kept = True
    for case in cases:
        mine, theirs = pairs_of(case, processes, blocks, seconds)
        ratio, low, high = ratio_in_pairs(mine, theirs)
        good = low_bar <= low and high <= high_bar
        figures = f"{statistics.median(mine):.3f} | {statistics.median(theirs):.3f} | {ratio:.3f} | {low:.3f} to {high:.3f}"
        medians.append(f"| {case.key} | {PEERS[case.backend]} | {figures} | {'kept' if good else 'MISSED'} |")
        with Worker("operators", case, seconds) as worker:
            whole_ms, sum_ms, count, other_ms = worker.ask()
        share, explained = sum_ms / whole_ms, (sum_ms + other_ms) / whole_ms
        within = abs(1 - share) <= SUM_BAR or abs(1 - explained) <= SUM_BAR
        figures = f"{count} | {whole_ms:.3f} | {sum_ms:.3f} | {share:.3f} | {other_ms:.3f} | {explained:.3f}"
        sums.append(f"| {case.key} | {case.backend} | {figures} | {'kept' if within else 'MISSED'} |")
        kept = kept and good and within
    lines = ["# A profile against its peers", "", environment.machine("mmedge", "onnxruntime", "openvino", "numpy"), ""]
    lines += [
        f"fp32, golden feeds, the same threads; {processes} pairs of processes, {blocks} pairs of blocks each, {seconds:g} s a block once warm.",
        "",
        *medians,
        "",
    ]
    lines += [f"Ratio: the median over pairs of blocks. Bar: its interval inside [{low_bar}, {high_bar}].", ""]
    lines += [
        "benchmark_app counts within OpenVINO; mmedge's figure has the checks of the feeds and the copies of the outputs that its users pay for.",
        "",
        *sums,
    ]
    lines += [
        "",
        f"Bar: operators sum to the whole within {SUM_BAR:.0%}, or do so with the overhead that the runtime and its profiler have on a chain of as many",
    ]
    lines += ["operators that compute next to nothing.", "", f"Bars: {'kept' if kept else 'MISSED'}."]
    return "\n".join(lines) + "\n", kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="default: the shipped assistant, exported into the cache of the benchmarks")
    parser.add_argument("--processes", type=int, default=5, help="pairs of them")
    parser.add_argument("--blocks", type=int, default=8, help="of each process")
    parser.add_argument("--seconds", type=float, default=0.3, help="of a block")
    parser.add_argument("--graph", help="only this one, ROLE/NAME")
    parser.add_argument("--backend", choices=list(PEERS), help="only this one")
    options = parser.parse_args()
    path = options.bundle or assistant_model.bundle([Target.load(name) for name in TARGETS.values()])
    models = Bundle.open(path).manifest.models
    cases = [
        Case(path, f"{role}/{name}", backend)
        for role, model in models.items()
        for backend, target in TARGETS.items()
        for name in model.graphs_for(Target.load(target)).values()
        if options.graph in (None, f"{role}/{name}") and options.backend in (None, backend)
        if backend in getattr(load_family(model.family), "PREFER", {}).get(name, (backend,))
    ]
    text, kept = report(cases, options.processes, options.blocks, options.seconds)
    print(text)
    if not (options.graph or options.backend):
        (Path(__file__).parent / "results" / "profile_peers.md").write_text(text, encoding="utf-8")
    return 0 if kept else 3


if __name__ == "__main__":
    sys.exit(main())
