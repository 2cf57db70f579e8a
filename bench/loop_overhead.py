"""What the loop itself costs: of each turn, all that is neither a model's work nor a declared wait.

``python bench/loop_overhead.py [--bundle B [--target T]]``. With stages that cost nothing, replayed and in real time; with a bundle, also with its models.
Writes ``bench/results/loop_overhead.md``. Exit status 3 when the bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import environment
import numpy as np
from numpy.typing import NDArray

from mmedge.assistant.clock import Clock, RealClock, ReplayClock
from mmedge.assistant.loop import converse
from mmedge.assistant.parts import Parts
from mmedge.assistant.run import parts_of
from mmedge.assistant.sinks import WavFile
from mmedge.assistant.sound_file import SoundFile
from mmedge.assistant.sources import Frame
from mmedge.bundle import Bundle
from mmedge.processors.audio import load_sound
from mmedge.processors.wav import write_wav
from mmedge.target import Target
from mmedge.turn import Seen, Turn

BAR_MS = 10.0
RATE_HZ = 16_000
GOLDEN = Path(__file__).parents[1] / "mmedge" / "golden"
Samples = NDArray[np.float32]


class Nothing:
    """Every model of the loop, at no cost: loud is speech, and the answer is always the same."""

    rate_hz = RATE_HZ
    chunk_samples = 512
    seen = [Seen(label="nothing", score=1.0)]

    def reset(self) -> None:
        pass

    def __call__(self, chunk: Samples) -> float:
        return float(chunk[0] != 0)

    def transcribe(self, sound: object) -> str:
        return "a question"

    def look(self, frames: Sequence[Frame]) -> Nothing:
        return self

    def answer(self, heard: str, view: object) -> str:
        return "an answer"

    def stream(self, text: str) -> Iterator[Samples]:
        yield np.zeros(RATE_HZ, np.float32)


class Camera:
    """Ten pictures a second, 640 x 480."""

    live = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __enter__(self) -> Camera:
        self._start_s = self._clock.now_s()
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            yield Frame(np.zeros((480, 640, 3), np.uint8), self._start_s + index / 10)
            index += 1


def run(folder: Path, utterance: Samples, count: int, clock: Clock, bundle: tuple[Bundle, Target] | None) -> list[float]:
    """Overhead of each of ``count`` turns."""
    write_wav(folder / "questions.wav", np.tile(utterance, count), RATE_HZ)
    turns: list[Turn] = []
    stop = threading.Event()
    microphone, camera, sink = SoundFile(folder / "questions.wav", clock, stop), Camera(clock), WavFile(folder / "answers.wav", clock)
    if bundle is None:
        models = Nothing()
        converse(Parts(models, models, models, microphone, sink, clock, camera, models), turns.append, stop)
    else:
        with parts_of(*bundle, microphone, camera, sink, clock) as parts:
            converse(parts, turns.append, stop)
    if len(turns) != count:
        sys.exit(f"{len(turns)} turns instead of {count}: this measures something else")
    return [overhead_ms for turn in turns if (overhead_ms := turn.overhead_ms()) is not None]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--turns", type=int, default=1000)
    options.add_argument("--real-time-turns", type=int, default=200, help="each takes 1.3 s; 0 leaves them out")
    options.add_argument("--bundle", help="a whole assistant")
    options.add_argument("--bundle-turns", type=int, default=200)
    options.add_argument("--target")
    given = options.parse_args()
    loud = np.concatenate([np.full(512 * 16, 0.5, np.float32), np.zeros(512 * 25, np.float32)])
    question, _ = load_sound(GOLDEN / "question.wav")
    rows: list[tuple[str, list[float]]] = []
    with tempfile.TemporaryDirectory(prefix="mmedge-") as scratch:
        folder = Path(scratch)
        rows.append(("stages that cost nothing, replayed", run(folder, loud, given.turns, ReplayClock(), None)))
        if given.real_time_turns:
            rows.append(("stages that cost nothing, in real time", run(folder, loud, given.real_time_turns, RealClock(), None)))
        if given.bundle:
            target = Target.load(given.target) if given.target else Target.detected()
            spoken = np.concatenate([question, np.zeros(2 * RATE_HZ, np.float32)])
            rows.append(
                (
                    f"{Path(given.bundle).name} on {target.name}, replayed",
                    run(folder, spoken, given.bundle_turns, ReplayClock(), (Bundle.open(given.bundle), target)),
                )
            )
    text = report(rows)
    print(text)
    results = Path(__file__).with_name("results")
    results.mkdir(exist_ok=True)
    (results / "loop_overhead.md").write_text(text)
    if any(np.median(overheads) > BAR_MS for _, overheads in rows):
        sys.exit(3)


def report(rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    lines = [
        "# Overhead of the loop",
        "",
        "Milliseconds a turn, from the end of speech to the end of the answer, that are neither a model's work nor a declared wait.",
        "",
        "| run | turns | p50 | p90 | p99 | most |",
        "|---|---|---|---|---|---|",
    ]
    for name, overheads in rows:
        p50, p90, p99 = np.percentile(overheads, [50, 90, 99])
        lines.append(f"| {name} | {len(overheads)} | {p50:.2f} | {p90:.2f} | {p99:.2f} | {max(overheads):.2f} |")
    return "\n".join([*lines, "", environment.machine("numpy", "onnxruntime"), ""])


if __name__ == "__main__":
    main()
