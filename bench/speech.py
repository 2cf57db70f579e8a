"""End of turn to transcript, against faster-whisper 1.2.1 int8 beam 1 on the same weights and the same 200 utterances.

``python bench/speech.py [--target T] [--clips N]``. Each clip is heard by both, in alternating order, with a pause between: thread pools of either keep
spinning for a while after their work. Writes ``bench/results/speech.md``. Exit status 3 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import environment
import numpy as np
import speech_clips
import speech_model
import statistic

from mmedge.processors.log_mel import RATE_HZ
from mmedge.profile.estimates import ratio_of_medians
from mmedge.target import Target

FASTER_WHISPER = "faster-whisper==1.2.1"
PAUSE_S = 0.3
TIME_BAR, WER_BAR = 0.3, 0.01
MEASURES = ((np.median, "ms"), (np.median, "cpu_ms"), (lambda values: np.percentile(values, 90), "ms"))


@dataclass(frozen=True)
class Answer:
    """What one of the two heard, and how long that took on the clock and on all cores together."""

    text: str
    ms: float
    cpu_ms: float


Row = tuple[speech_clips.Clip, Answer, Answer]
"""A clip, ours, theirs."""


class Peer:
    """faster-whisper behind a pipe; it times itself, so the pipe costs it nothing."""

    def __init__(self, scratch: Path) -> None:
        python = environment.python_with("faster-whisper", [FASTER_WHISPER])
        self._clip = scratch / "clip.npy"
        script = Path(__file__).with_name("speech_peer.py")
        self._process = subprocess.Popen([python, script, speech_model.weights()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions = ", ".join(f"{name} {version}" for name, version in self._answer().items())

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))

    def hear(self, samples: speech_clips.Samples) -> Answer:
        np.save(self._clip, samples)
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self._clip}\n")
        self._process.stdin.flush()
        return Answer(**self._answer())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def hear(session: Any, samples: speech_clips.Samples) -> Answer:
    start, start_cpu = time.perf_counter(), time.process_time()
    text = session.transcribe((samples, RATE_HZ))
    return Answer(text, (time.perf_counter() - start) * 1e3, (time.process_time() - start_cpu) * 1e3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", help="default: this machine's")
    parser.add_argument("--clips", type=int, default=200)
    options = parser.parse_args()
    target = Target.load(options.target) if options.target else Target.detected()
    clips = speech_clips.utterances()[: options.clips]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch, speech_model.ears(target) as session:
        peer = Peer(Path(scratch))
        try:
            for clip in clips[:2]:  # warm
                peer.hear(clip.samples)
                hear(session, clip.samples)
            for index, clip in enumerate(clips):
                answers: dict[str, Answer] = {}
                for who in ("ours", "theirs") if index % 2 else ("theirs", "ours"):
                    time.sleep(PAUSE_S)
                    answers[who] = hear(session, clip.samples) if who == "ours" else peer.hear(clip.samples)
                rows.append((clip, answers["ours"], answers["theirs"]))
                if index % 20 == 19:
                    print(f"{index + 1} of {len(clips)}", file=sys.stderr)
        finally:
            peer.close()
        raw = [{"clip": clip.name, "said": clip.text, "ours": asdict(ours), "theirs": asdict(theirs)} for clip, ours, theirs in rows]
        (environment.folder() / "speech.json").write_text(json.dumps(raw, indent=1), encoding="utf-8")
        report, good = summary(rows, target, peer.versions)
    print(report)
    (Path(__file__).parent / "results" / "speech.md").write_text(report, encoding="utf-8")
    return 0 if good else 3


def summary(rows: list[Row], target: Target, versions: str) -> tuple[str, bool]:
    ratio, low, high = ratio_of_medians([ours.ms for _, ours, _ in rows], [theirs.ms for _, _, theirs in rows], paired=True)
    cpu_ratio, cpu_low, cpu_high = ratio_of_medians([ours.cpu_ms for _, ours, _ in rows], [theirs.cpu_ms for _, _, theirs in rows], paired=True)
    ours, theirs = ([statistic.word_errors(row[0].text, row[who].text) for row in rows] for who in (1, 2))
    our_rate, their_rate, (below, above) = statistic.word_error_rates(ours, theirs)
    medians, cpu_medians, p90 = ([float(pick([getattr(row[who], what) for row in rows])) for who in (1, 2)] for pick, what in MEASURES)
    good = ratio <= TIME_BAR and above <= WER_BAR
    seconds = sum(len(row[0].samples) for row in rows) / RATE_HZ / len(rows)
    difference = f"difference 95 %: {100 * below:+.2f} to {100 * above:+.2f} points; bar +{100 * WER_BAR:.0f}"
    same = sum(statistic.plain(row[1].text) == statistic.plain(row[2].text) for row in rows)
    lines = [
        "# Speech: end of turn to transcript",
        "",
        f"{environment.machine('numpy', 'onnxruntime', 'openvino')}; {versions} (int8, beam 1, its defaults otherwise).",
        f"Target {target.name}: {speech_model.placements(target)}. {len(rows)} utterances ({seconds:.1f} s each",
        "on average; two synthetic voices, three speeds, clean and pink noise at 20 and 10 dB), heard by both in alternating order.",
        "",
        "| | mmedge | faster-whisper | |",
        "|---|---|---|---|",
        f"| median, ms | {medians[0]:.0f} | {medians[1]:.0f} | ratio {ratio:.3f} (95 %: {low:.3f} to {high:.3f}); bar {TIME_BAR} |",
        f"| CPU time, all cores, median, ms | {cpu_medians[0]:.0f} | {cpu_medians[1]:.0f} | ratio {cpu_ratio:.3f} (95 %: {cpu_low:.3f} to {cpu_high:.3f}) |",
        f"| p90, ms | {p90[0]:.0f} | {p90[1]:.0f} | |",
        f"| word error rate, % | {100 * our_rate:.2f} | {100 * their_rate:.2f} | {difference} |",
        f"| nothing heard | {sum(not row[1].text for row in rows)} | {sum(not row[2].text for row in rows)} | the same words: {same} of {len(rows)} |",
        "",
        "Word error rate, % (mmedge / faster-whisper), by voice, speed and noise:",
        "",
        *(f"- {kind}: {_rate(ours, rows, kind)} / {_rate(theirs, rows, kind)}" for kind in ("joe", "slt", "0.85x", "1.0x", "1.2x", "clean", "20 dB", "10 dB")),
        "",
        "Where they differ most:",
        "",
        *_differences(rows, ours, theirs),
        "",
    ]
    return "\n".join(lines), good


def _rate(errors: list[tuple[int, int]], rows: list[Row], kind: str) -> str:
    chosen = [error for error, row in zip(errors, rows) if kind in row[0].name]
    return f"{100 * sum(wrong for wrong, _ in chosen) / max(1, sum(words for _, words in chosen)):.1f}"


def _differences(rows: list[Row], ours: list[tuple[int, int]], theirs: list[tuple[int, int]]) -> list[str]:
    order = sorted(range(len(rows)), key=lambda index: -abs(ours[index][0] - theirs[index][0]))[:8]
    return [
        f"- {rows[index][0].name}, said {rows[index][0].text!r}: mmedge {rows[index][1].text!r}, faster-whisper {rows[index][2].text!r}"
        for index in order
        if ours[index][0] != theirs[index][0]
    ]


if __name__ == "__main__":
    sys.exit(main())
