"""The image tower on our runner, against raw onnxruntime in fp32 and raw OpenVINO as it comes: the same graph, pictures and threads.

``python bench/image_tower.py [--target T] [--pairs N]``. Every contender lives in a process of its own and works while the others wait, in an order drawn anew
each time, after a pause: threads that go on spinning would otherwise slow whoever comes next. Writes ``bench/results/image_tower.md``.
Exit status 3 when a bar is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import environment
import eyes_model
import numpy as np

from mmedge.bundle import Bundle
from mmedge.profile.estimates import ratio_of_medians
from mmedge.target import Target

CONTENDERS = ("mmedge", "onnxruntime fp32", "OpenVINO default")
PAUSE_S = 0.1
RUNS = 5
"""Timed calls per turn, of which the median counts, after one that does not: caches are cold after the others' turns."""
RATIO_BAR, COSINE_BAR = 1.05, 0.99

Run = Callable[[Any], Any]


@contextlib.contextmanager
def opened(contender: str, bundle: Path, target: Target, threads: int) -> Iterator[Run]:
    """pixel_values -> logits, by one contender."""
    graph = Bundle.open(bundle).graph("eyes", "image_encoder").path
    if contender == "mmedge":
        with Bundle.open(bundle).runner("eyes", "image_encoder", target) as runner:
            yield lambda pixels: runner.run({"pixel_values": pixels})["logits"]
    elif contender == "onnxruntime fp32":
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])
        yield lambda pixels: session.run(None, {"pixel_values": pixels})[0]
    else:
        import openvino

        request = openvino.Core().compile_model(str(graph), "CPU", {"INFERENCE_NUM_THREADS": threads}).create_infer_request()
        yield lambda pixels: request.infer([pixels], share_inputs=True)[0].copy()


def work(contender: str, bundle: Path, target: Target, threads: int, pictures: Path, results: Path) -> None:
    """Answer each line on stdin with the milliseconds of one call; the outputs for all pictures are in ``results`` first."""
    pixels = np.load(pictures, allow_pickle=False)
    with opened(contender, bundle, target, threads) as run:
        np.save(results, np.concatenate([run(np.ascontiguousarray(picture[None])) for picture in pixels]))
        print("ready", flush=True)
        for line in sys.stdin:
            picture = np.ascontiguousarray(pixels[int(line) % len(pixels)][None])
            run(picture)
            spent = []
            for _ in range(RUNS):
                begin = time.perf_counter()
                run(picture)
                spent.append((time.perf_counter() - begin) * 1e3)
            print(np.median(spent), flush=True)


class Worker:
    """A contender in its own process."""

    def __init__(self, contender: str, options: list[str], results: Path) -> None:
        command = [sys.executable, __file__, "--worker", contender, "--results", str(results), *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._line() != "ready":
            raise RuntimeError(f"{contender} did not start")
        self.logits = np.load(results, allow_pickle=False)

    def time_ms(self, picture: int) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{picture}\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def compare(target: Target, threads: int, pairs: int, scratch: Path) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """(milliseconds per turn, logits of all pictures) of each contender."""
    from stamps import Stamps

    bundle, pictures = eyes_model.bundle(target), scratch / "pictures.npy"
    with Bundle.open(bundle).session("eyes", target) as eyes:
        np.save(pictures, np.concatenate([eyes.pixels(item.path) for item in Stamps().split()[0]]))
    options = ["--bundle", str(bundle), "--target", target.name, "--threads", str(threads), "--pictures", str(pictures)]
    workers = {contender: Worker(contender, options, scratch / f"{index}.npy") for index, contender in enumerate(CONTENDERS)}
    spent: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
    draw = random.Random(0)
    for pair in range(-1, pairs):
        for contender in draw.sample(CONTENDERS, len(CONTENDERS)):
            time.sleep(PAUSE_S)
            figure = workers[contender].time_ms(pair + 1)
            if pair >= 0:
                spent[contender].append(figure)
    for worker in workers.values():
        worker.close()
    return spent, {contender: worker.logits for contender, worker in workers.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", help="default: this machine's")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=len(environment.os.sched_getaffinity(0)), help="of the peers; ours takes what its target says")
    for hidden in ("--worker", "--bundle", "--pictures", "--results"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    target = Target.load(options.target) if options.target else Target.detected()
    if options.worker:
        work(options.worker, Path(options.bundle), target, options.threads, Path(options.pictures), Path(options.results))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        spent, logits = compare(target, options.threads, options.pairs, Path(scratch))
    lines, kept = report(target, options.threads, spent, logits)
    print("\n".join(lines))
    out = Path(__file__).parent / "results" / "image_tower.md"
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if kept else 3


def report(target: Target, threads: int, spent: dict[str, list[float]], logits: dict[str, Any]) -> tuple[list[str], bool]:
    """(a table, whether the bars are kept)."""
    reference, pairs = logits["onnxruntime fp32"], len(spent["mmedge"])
    fastest = min(CONTENDERS[1:], key=lambda contender: float(np.median(spent[contender])))
    placed = Bundle.open(eyes_model.bundle(target)).manifest.engines[target.name]["eyes/image_encoder"]
    lines = [
        "# Image tower",
        "",
        environment.machine("mmedge", "onnxruntime", "openvino", "numpy"),
        "",
        f"EfficientNet-Lite0, 224 x 224 pixels, batch 1, {threads} threads; target {target.name} ({placed.backend} {placed.precision}); {pairs} rounds.",
        "",
        "| | median ms | cosine with onnxruntime fp32, least of all pictures | same top class |",
        "|---|---|---|---|",
    ]
    cosines = {}
    for contender in CONTENDERS:
        ours = logits[contender]
        cosines[contender] = float((np.sum(ours * reference, 1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(reference, axis=1)).min())
        same = float((ours.argmax(1) == reference.argmax(1)).mean())
        lines.append(f"| {contender} | {np.median(spent[contender]):.2f} | {cosines[contender]:.6f} | {same:.3f} |")
    ratio, low, high = ratio_of_medians(spent["mmedge"], spent[fastest], paired=True)
    kept = high <= RATIO_BAR and cosines["mmedge"] >= COSINE_BAR
    lines += ["", f"Ratio of medians to {fastest}, the faster of the two: {ratio:.3f} (95 %: {low:.3f} to {high:.3f}); {len(reference)} pictures compared."]
    lines.append(f"Bars: upper bound at most {RATIO_BAR}, cosine at least {COSINE_BAR}: {'kept' if kept else 'MISSED'}.")
    return lines, kept


if __name__ == "__main__":
    sys.exit(main())
