"""Which trained models come out as complete and right ONNX: mmedge, transformers.exporters, optimum-onnx and Olive, on the same small checkpoints.

``python bench/coverage.py [ARCHITECTURE ...] [--again TOOL ...]``. Every tool has an environment of its own and several tries; one judge (coverage_check.py)
that knows none of them says whether an export is good. What peers did is kept by command, and done again with ``--again``; mmedge always starts anew.
Writes ``bench/results/coverage.md``. Exit status 3 when an architecture does not come out of mmedge.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import coverage_models
import environment
from coverage_tools import TOOLS, Model, Try

HERE = Path(__file__).parent
FIRST = (
    "CLIPModel", "SmolVLMForConditionalGeneration", "WhisperForConditionalGeneration", "BlipForConditionalGeneration", "LlamaForCausalLM", "ClapModel",
    "VisionEncoderDecoderModel", "SiglipModel", "LlavaForConditionalGeneration", "Qwen3VLForConditionalGeneration", "BlipForQuestionAnswering",
    "MoonshineForConditionalGeneration", "Wav2Vec2ForCTC", "ViltForQuestionAnswering", "GitForCausalLM", "ASTForAudioClassification",
    "Wav2Vec2ForSequenceClassification", "HubertForSequenceClassification", "BertForSequenceClassification",
)  # fmt: skip
"""The comparison takes an hour, and its table grows as it goes."""
TIMEOUT_S = 600
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OLIVE_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}


def tried(tool: str, model: Model, attempt: Try) -> dict[str, Any]:
    """Run one command into an empty folder, and judge what is there."""
    shutil.rmtree(model.out, ignore_errors=True)
    model.out.parent.mkdir(parents=True, exist_ok=True)
    print(f"{model.name}: {attempt.shown}", file=sys.stderr, flush=True)
    found: dict[str, Any] = {"shown": attempt.shown, "by_hand": attempt.by_hand}
    try:
        # In a folder of its own: some tools leave caches where they are called.
        done = subprocess.run(attempt.command, capture_output=True, text=True, timeout=TIMEOUT_S, env={**os.environ, **ENVIRONMENT}, cwd=model.out.parent)
    except subprocess.TimeoutExpired:
        return {**found, "good": False, "said": f"not done after {TIMEOUT_S} s"}
    if done.returncode != 0 or not list(model.out.rglob("*.onnx")):
        return {**found, "good": False, "said": f"exit status {done.returncode}: {error_line(done.stderr + done.stdout)}"}
    judged = subprocess.run([sys.executable, HERE / "coverage_check.py", model.out, model.reference], capture_output=True, text=True)
    if judged.returncode != 0:
        raise RuntimeError(judged.stderr)
    return {**found, **json.loads(judged.stdout)}


def error_line(said: str) -> str:
    """The last line that names an error, else the last line."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in said.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"([\w.]+(Error|Exception)|error)\b", line)]
    line = (named or lines or ["it says nothing"])[-1]
    return re.sub(r"(?<![:/\w])/\S*/", "", line)[:220]


def results(folder: Path, names: list[str], again: list[str]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Architecture -> tool -> its tries, the last of which is the good one if there is one."""
    kept = folder / "tries.json"
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name in names:
        found[name] = {}
        for tool, tries_of in TOOLS.items():
            model = Model(name, folder / name / "checkpoint", folder / name, folder / name / tool / "out")
            made = found[name][tool] = []
            for attempt in tries_of(model):
                if any(attempt.unless in one["said"] for one in made):
                    continue
                key = f"{tool} {name}: {attempt.shown}"
                if key not in known or tool in again:
                    known[key] = tried(tool, model, attempt)
                    kept.write_text(json.dumps(known, indent=1))
                made.append(known[key])
                if known[key]["good"]:
                    break
            shutil.rmtree(folder / name / tool, ignore_errors=True)
    return found


def report(found: dict[str, dict[str, list[dict[str, Any]]]], machine: str) -> str:
    lines = [
        "# Which models come out",
        "",
        f"{machine}. Small checkpoints of {len(found)} architectures with random weights, the same for all tools.",
        "",
        "**yes**: every graph loads in onnxruntime; every component is there (what reads the picture, the sound, the text; a decoder that takes and gives its",
        "cache); and, driven by the exported files alone, the outputs are those of transformers: embeddings and logits within 1e-3, or the same",
        f"{coverage_models.TOKENS} greedy tokens for {coverage_models.INPUTS} inputs. One judge decides, which knows none of",
        "the tools (`bench/coverage_check.py`). Each tool has several tries (below). *by hand*: only with more calls than its documentation names.",
        "",
        "| architecture | " + " | ".join(TOOLS) + " |",
        "|---" * (len(TOOLS) + 1) + "|",
        *(f"| {name} | " + " | ".join(word(tries) for tries in tools.values()) + " |" for name, tools in found.items()),
        "| all | " + " | ".join(f"{sum(word(tools[tool]).startswith('yes') for tools in found.values())} of {len(found)}" for tool in TOOLS) + " |",
        "",
        "mmedge 0.1.0; transformers 5.23.0; optimum-onnx 0.1.0 with transformers 4.57.6 (of checkpoints that 5.23 saved it is given `rope_theta` and the",
        "tokenizer's class by their older names); olive-ai 0.13.0 with onnxruntime-genai 0.14.1 (newer ones lack a module that it imports), mobius-onnx 0.1.0",
        "(it asks for mobius-ai, which PyPI lacks) and requests (which it imports without declaring it). All with torch 2.13.0.",
        "",
        "What did not come out, by tool; the last word of every try:",
        "",
    ]
    for tool in TOOLS:
        bad = {name: tools[tool] for name, tools in found.items() if not word(tools[tool]).startswith("yes")}
        lines += [f"**{tool}**", ""] if bad else []
        for name, tries in bad.items():
            lines += [
                f"- {name}{': ' + REMARKS[tool, name] if (tool, name) in REMARKS else ''}",
                *(f"  - `{one['shown']}`: {one['said'] or 'good'}" for one in tries),
            ]
        lines += [""] if bad else []
    return "\n".join(lines).rstrip() + "\n"


REMARKS = {
    (
        "optimum-onnx",
        "HubertForSequenceClassification",
    ): "transformers 4.57.6 itself computes other logits than 5.23.0 from this checkpoint, by as much: no fault of the export",
}


def word(tries: list[dict[str, Any]]) -> str:
    last = tries[-1]
    if not last["good"]:
        return "no"
    if last["by_hand"]:
        return "by hand"
    return "yes" + (f" ({last['said']})" if last["said"] else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", nargs="*", default=["mmedge"], help="tools that are tried again; default: mmedge")
    parser.add_argument("architectures", nargs="*")
    options = parser.parse_args()
    folder = environment.folder() / "coverage"
    coverage_models.main(folder, options.architectures)
    names = [name for name in coverage_models.checkpoints() if name in options.architectures or not options.architectures]
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name in sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST)):
        found |= results(folder, [name], options.again)
        text = report(found, environment.machine("onnxruntime", "numpy"))
        if not options.architectures:
            (HERE / "results" / "coverage.md").write_text(text, encoding="utf-8")
    print(text)
    return 0 if "| no |" not in "".join(re.findall(r"^\| \w[^|]*\| no \|", text, re.M)) else 3


if __name__ == "__main__":
    sys.exit(main())
