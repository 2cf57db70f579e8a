"""What an export costs: time and peak memory of CLIP ViT-B/32 and Whisper base, at their real sizes with random weights, for every tool that can.

``python bench/export_cost.py [--rounds N] [--model MODEL]``. A tool takes part with the first of its commands (coverage_tools.py) whose export the judge of
the coverage comparison accepts; mmedge without its int8 candidate, because the others write fp32 alone. Then all are run in turn, each time in fresh
processes. With ``--model`` the other's figures stay as they were measured last. Writes ``bench/results/export_cost.md``.
Exit status 3 when mmedge needs more memory than it may.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import coverage
import coverage_models
import environment
import torch
import transformers
from coverage_tools import TOOLS, Model, Try

from mmedge import catalog

TIMES, SPARE_MB = 2.5, 1000
"""How much memory an export may take: so many times the checkpoint, and so much more."""


def make_clip(folder: Path) -> None:
    from checkpoints import spread
    from checkpoints.dual_encoder import make_clip

    make_clip(folder, side=224)  # tokenizer and processor: the tokenizer's tokens are a part of the real ones
    spread(transformers.CLIPModel(transformers.CLIPConfig())).save_pretrained(folder)


def make_whisper(folder: Path) -> None:
    from checkpoints.speech import make_whisper

    make_whisper(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    sizes = {"encoder_layers": 6, "decoder_layers": 6, "encoder_attention_heads": 8, "decoder_attention_heads": 8, "d_model": 512}
    ids = {"decoder_start_token_id": 1, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    # As wide as this, the random model still says something else to every sound; at its default of 0.02 it does not.
    config = transformers.WhisperConfig(**sizes, **ids, encoder_ffn_dim=2048, decoder_ffn_dim=2048, vocab_size=51865, init_std=0.088)
    torch.manual_seed(7)
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)


MODELS = {"CLIPModel-ViT-B/32": make_clip, "WhisperForConditionalGeneration-base": make_whisper}

FP32 = "cpu-fp32"


def in_fp32(model: Model) -> list[Try]:
    """mmedge's own command, for the target ``cpu`` without int8."""
    path = model.out.parent / f"{FP32}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = catalog.find("targets", "cpu").read_text(encoding="utf-8")
    path.write_text(text.replace('name = "cpu"', f'name = "{FP32}"').replace(', "int8"', ""), encoding="utf-8")
    return [
        replace(one, shown=one.shown.replace("--target cpu", f"--target {path.name}"), command=[str(path) if word == "cpu" else word for word in one.command])
        for one in TOOLS["mmedge"](model)
    ]


WAYS = {**TOOLS, "mmedge": in_fp32}

MEASURED = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
seconds = time.perf_counter() - start
print(json.dumps([done.returncode, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3, done.stderr[-500:]]))
"""
"""A process of its own around every command: what its largest child ever held is this command's."""


def measured(model: Model, command: list[str]) -> tuple[float, float]:
    """(seconds, MB) of one export into an empty folder, called from an empty folder: some tools keep there what they have done before."""
    shutil.rmtree(model.out, ignore_errors=True)
    environ = {**os.environ, **coverage.ENVIRONMENT, "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
    with tempfile.TemporaryDirectory() as empty:
        said = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=True, env=environ, cwd=empty).stdout
    status, seconds, peak_mb, error = json.loads(said)
    if status:
        raise RuntimeError(f"{command}: {error}")
    return seconds, peak_mb


def able(model: Model, tool: str) -> Try | str:
    """The first command of a tool whose export is good, or why there is none."""
    last = ""
    for attempt in WAYS[tool](model):
        if attempt.unless in last:
            continue
        judged = coverage.tried(tool, model, attempt)
        if judged["good"]:
            return attempt
        last = judged["said"]
    return last


def costs(label: str, folder: Path, rounds: int) -> tuple[list[str], bool]:
    """Every tool that can export a model, in turn. Returns the lines of its table, and whether mmedge kept its bar."""
    name = label.replace("/", "-")
    coverage_models.make(folder, name, MODELS[label])
    models = {tool: Model(name, folder / name / "checkpoint", folder / name, folder / name / tool / "out") for tool in TOOLS}
    tries = {tool: able(model, tool) for tool, model in models.items()}
    samples: dict[str, list[tuple[float, float]]] = {tool: [] for tool, attempt in tries.items() if isinstance(attempt, Try)}
    for number in range(rounds):
        for tool in list(samples)[:: 1 if number % 2 else -1]:
            attempt = tries[tool]
            assert isinstance(attempt, Try)
            samples[tool].append(measured(models[tool], attempt.command))
            print(f"{label}, {tool}: {samples[tool][-1]}", file=sys.stderr, flush=True)
            time.sleep(1)
    checkpoint_mb = (folder / name / "checkpoint" / "model.safetensors").stat().st_size / 1e6
    bar_mb = TIMES * checkpoint_mb + SPARE_MB
    shutil.rmtree(folder / name)
    lines = [
        f"**{label.partition('-')[0]} {label.partition('-')[2]}**, a checkpoint of {checkpoint_mb:.0f} MB; mmedge may take {bar_mb:.0f} MB. "
        f"{environment.machine('torch', 'transformers', 'onnx', 'onnxruntime')}; {rounds} rounds.",
        "",
        "| | s, median | s, least to most | peak MB, most | command |",
        "|---|---|---|---|---|",
        *(row(tool, tries[tool], samples.get(tool, [])) for tool in TOOLS),
        "",
    ]
    return lines, "mmedge" in samples and max(peak for _, peak in samples["mmedge"]) <= bar_mb


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", choices=list(MODELS), help="only this one")
    asked = parser.parse_args()
    folder = environment.folder() / "export_cost"
    folder.mkdir(parents=True, exist_ok=True)
    transformers.utils.logging.disable_progress_bar()
    last = folder / "last.json"
    found: dict[str, tuple[list[str], bool]] = json.loads(last.read_text(encoding="utf-8")) if last.is_file() else {}
    for label in [asked.model] if asked.model else MODELS:
        found[label] = costs(label, folder, asked.rounds)
        last.write_text(json.dumps(found), encoding="utf-8")
    lines, good = [line for label in MODELS if label in found for line in found[label][0]], all(kept for _, kept in found.values())
    text = report(lines, good)
    (Path(__file__).parent / "results" / "export_cost.md").write_text(text, encoding="utf-8")
    print(text)
    return 0 if good else 3


def row(tool: str, attempt: Try | str, samples: list[tuple[float, float]]) -> str:
    if isinstance(attempt, str):
        return f"| {tool} | - | - | - | none of its tries is good; the last: {attempt} |"
    seconds, peaks = zip(*samples)
    return f"| {tool} | {statistics.median(seconds):.1f} | {min(seconds):.1f} to {max(seconds):.1f} | {max(peaks):.0f} | `{attempt.shown}` |"


def report(lines: list[str], good: bool) -> str:
    return "\n".join(
        [
            "# What an export costs",
            "",
            "Real configs, random weights; the tools in turn, fresh processes, the memory of the largest of them.",
            "A tool takes part with the first of its commands whose export is complete and right (see the coverage comparison). mmedge's time includes holding",
            "every graph against its module at two sizes, and checking the whole against golden data.",
            "",
            *lines,
            f"Bar (memory at most {TIMES} times the checkpoint and {SPARE_MB} MB): {'kept' if good else 'missed'}.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
