"""Tokens a second of a 135M-parameter chat model in float32 on this CPU: mmedge against transformers, onnxruntime-genai and OpenVINO GenAI.

``python bench/chat_speed.py [--rounds N] [--tokens N] [--prompt N] [--small]``. The same random weights everywhere, each contender in a process of its own
(mmedge's two backends too), one working while the others wait, in another order every round. What they say is compared token for token.
Writes ``bench/results/chat_speed.md`` (not with ``--small``). Exit status 3 when mmedge's better backend is slower than 1.05 x the best of the others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chat_model
import environment
import numpy as np

from mmedge.profile.estimates import ratio_of_medians

BAR = 1.05
PAUSE_S = 0.3
"""Threads of some pools keep spinning for a while after their work."""


@dataclass
class Contender:
    """One of them behind a pipe, and what it has done."""

    name: str
    process: subprocess.Popen[str]
    version: str = ""
    first_ms: list[float] = field(default_factory=list)
    rest_ms: list[float] = field(default_factory=list)
    said: list[list[int]] = field(default_factory=list)

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended")
        return dict(json.loads(line))

    def answer(self, prompt: list[int], tokens: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"prompt": prompt, "tokens": tokens}) + "\n")
        self.process.stdin.flush()
        return self.read()


def contenders(small: bool) -> list[Contender]:
    """All that run here; what does not is told and left out."""
    peer, found = Path(__file__).with_name("chat_peer.py"), []
    chat_model.bundle(small)
    commands: dict[str, Any] = {
        f"mmedge {name}": lambda name=name: [sys.executable, __file__, "--serve", name, *(["--small"] * small)] for name in ("ort", "openvino")
    }
    commands["transformers eager"] = lambda: [sys.executable, peer, "transformers_eager", chat_model.checkpoint(small)]
    commands["onnxruntime-genai"] = lambda: _peer(peer, "onnxruntime_genai", chat_model.genai(small))
    commands["OpenVINO GenAI"] = lambda: _peer(peer, "openvino_genai", chat_model.openvino_genai(small))
    commands["OpenVINO GenAI, SDPA"] = lambda: _peer(peer, "openvino_genai_sdpa", chat_model.openvino_genai(small))
    for name, command in commands.items():
        try:
            one = Contender(name, subprocess.Popen([str(part) for part in command()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            one.version = one.read()["version"]
        except (RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{name} does not run here: {error}", file=sys.stderr)
            continue
        found.append(one)
    return found


def _peer(script: Path, function: str, made: tuple[Path, Path]) -> list[Any]:
    python, folder = made
    return [python, script, function, folder]


def serve(backend: str, small: bool) -> None:
    """mmedge as a contender: the session's own step, over its cache."""
    import mmedge

    with chat_model.session(small, backend) as session:
        print(json.dumps({"version": f"mmedge {mmedge.__version__}"}), flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            said, marks = [], [time.perf_counter()]
            step, tokens = session.step(), np.array(asked["prompt"])
            for _ in range(asked["tokens"]):
                tokens = np.array([step(tokens).argmax()])
                said.append(int(tokens[0]))
                marks.append(time.perf_counter())
            print(json.dumps({"said": said, "first_ms": (marks[1] - marks[0]) * 1e3, "rest_ms": (marks[-1] - marks[1]) * 1e3}), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.small)
        return 0
    random = np.random.default_rng(0)
    vocabulary = (chat_model.SMALL if options.small else chat_model.SIZES)["vocab_size"]
    found = contenders(options.small)
    try:
        for one in found:  # warm
            one.answer([5] * options.prompt, 4)
        for number in range(options.rounds):
            prompt = random.integers(3, vocabulary, options.prompt).tolist()
            for index in random.permutation(len(found)):
                time.sleep(PAUSE_S)
                answer = found[index].answer(prompt, options.tokens)
                found[index].first_ms.append(answer["first_ms"])
                found[index].rest_ms.append(answer["rest_ms"])
                found[index].said.append(answer["said"])
            print(f"{number + 1} of {options.rounds}", file=sys.stderr)
    finally:
        for one in found:
            assert one.process.stdin is not None
            one.process.stdin.close()
            one.process.wait(30)
    report, good = summary(found, options)
    print(report)
    if not options.small:
        (Path(__file__).parent / "results" / "chat_speed.md").write_text(report, encoding="utf-8")
    return 0 if good else 3


def summary(found: list[Contender], options: argparse.Namespace) -> tuple[str, bool]:
    ours = min((one for one in found if one.name.startswith("mmedge")), key=lambda one: float(np.median(one.rest_ms)))
    theirs = [one for one in found if not one.name.startswith("mmedge")]
    best = min(theirs, key=lambda one: float(np.median(one.rest_ms)))
    ratio, low, high = ratio_of_medians(ours.rest_ms, best.rest_ms, paired=True)
    reference = next(one for one in found if one.name == "transformers eager")
    steps = options.tokens - 1
    rows = [
        f"| {one.name} | {np.median(one.first_ms):.0f} | {np.median(one.rest_ms) / steps:.1f} | {steps / np.median(one.rest_ms) * 1e3:.1f} | "
        f"{sum(a == b for a, b in zip(one.said, reference.said))} of {len(one.said)} |"
        for one in found
    ]
    lines = [
        "# Chat: tokens a second",
        "",
        f"{environment.machine('numpy', 'onnxruntime', 'openvino', 'torch', 'transformers')}; {'; '.join(sorted({one.version for one in found}))}.",
        f"SmolLM2-135M's architecture with random weights, float32, all cores, greedy; {options.prompt} tokens read, {options.tokens} written,",
        f"{options.rounds} rounds in changing order. OpenVINO GenAI keeps its cache in float32 too (its default is 8 bits).",
        "",
        "| | prompt and first token, ms | ms a token | tokens a second | answers equal to transformers' |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"{ours.name} takes {ratio:.3f} (95 %: {low:.3f} to {high:.3f}) of the time of {best.name}, the best of the others; bar {BAR}.",
        "",
    ]
    return "\n".join(lines), ratio <= BAR


if __name__ == "__main__":
    sys.exit(main())
