"""The exporters of the coverage comparison: how each is installed, and its commands for a model, the one its documentation names first.

A tool gets several tries; the first whose export the judge accepts counts. Olive and optimum-onnx say what is wrong in a traceback's last line.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import environment

HERE = Path(__file__).parent
TORCH = "torch==2.13.0+cpu"
OLIVE = (
    *(TORCH, "olive-ai==0.13.0", "onnxruntime==1.31.1", "onnxscript==0.7.2", "pillow"),
    *("requests", "tabulate"),  # it imports the first without declaring it, and asks for the second
    *("onnxruntime-genai==0.14.1", "mobius-onnx==0.1.0"),  # the newest genai whose model builder has the module that this Olive imports
)


@dataclass(frozen=True)
class Try:
    """One way to export: what is shown, what is run, and whether a user would have to write it."""

    shown: str
    command: list[str]
    by_hand: bool = False
    unless: str = "\0"
    """Not tried where an earlier try said this: it would say the same."""


@dataclass(frozen=True)
class Model:
    """What is exported, and where to."""

    name: str
    checkpoint: Path
    reference: Path
    out: Path

    @property
    def architecture(self) -> str:
        return self.name.partition("-")[0]

    @property
    def kind(self) -> str:
        return str(json.loads((self.reference / "reference.json").read_text())["kind"])


def _bin(python: Path, program: str) -> str:
    return str(python.with_name(program))


def _shown(command: list[str], model: Model) -> str:
    words = [Path(command[0]).name, *command[1:]]
    return " ".join({str(model.checkpoint): "MODEL", str(model.out): "OUT"}.get(word, word) for word in words)


def _try(command: list[str], model: Model, unless: str = "\0") -> Try:
    return Try(_shown(command, model), command, unless=unless)


def mmedge(model: Model) -> list[Try]:
    return [_try([_bin(Path(sys.executable), "mmedge"), "export", str(model.checkpoint), "--target", "cpu", "-o", str(model.out)], model)]


def exporters(model: Model) -> list[Try]:
    python = environment.python_with(
        "transformers-exporters", [TORCH, "transformers==5.23.0", "onnx==1.23.2", "onnxscript==0.7.2", "onnxruntime==1.31.1", "pillow"]
    )
    script = [str(python), str(HERE / "coverage_transformers.py")]
    given = [model.architecture, str(model.checkpoint), str(model.reference), str(model.out)]
    if model.kind != "generate":
        return [Try("OnnxExporter().export(model, inputs, OnnxConfig(dynamic=True))", [*script, "export", *given])]
    call = "OnnxExporter().export_for_generation(model, inputs, OnnxConfig(dynamic=True)"
    return [
        Try(f"{call})", [*script, "generation", *given]),
        Try(f"{call}, multi_token_decode=True)", [*script, "tokens", *given]),
        Try("the same, and a call for every encoder, projector and embedding that it leaves out", [*script, "by hand", *given], by_hand=True),
    ]


def optimum(model: Model) -> list[Try]:
    python = environment.python_with(
        "optimum-onnx", [TORCH, "optimum-onnx[onnxruntime]==0.1.0", "transformers==4.57.6", "onnx==1.23.2", "onnxscript==0.7.2", "pillow"]
    )
    older = model.out.parent / "older"
    for_transformers_4(model.checkpoint, older)
    tries = []
    for task in dict.fromkeys([task_of(model), "feature-extraction-with-past" if model.kind == "generate" else "feature-extraction"]):
        command = [_bin(python, "optimum-cli"), "export", "onnx", "--model", str(older), "--task", task, str(model.out)]
        tries.append(Try(_shown(command, model).replace(str(older), "MODEL"), command))
    return tries


def olive(model: Model) -> list[Try]:
    python = environment.python_with("olive", OLIVE)
    program, quiet = _bin(python, "olive"), ["--disable_telemetry", "-o", str(model.out)]
    given = ["-m", str(model.checkpoint), "-t", task_of(model)]
    mobius = [
        _try([program, "capture-onnx-graph", *given[:2], "--use_mobius_builder", *quiet], model),
        _try([_bin(python, "mobius"), "build", "--config", str(model.checkpoint), str(model.out)], model, "Unknown model_type"),
    ]
    traced = [
        _try([program, "capture-onnx-graph", *given, "--use_dynamo_exporter", *quiet], model),
        _try([program, "capture-onnx-graph", *given, *quiet], model, "Unable to get dummy inputs"),
    ]
    optimize = _try([program, "optimize", *given, "--provider", "CPUExecutionProvider", "--device", "cpu", "--precision", "fp32", *quiet], model)
    return [optimize, *mobius, *traced] if model.kind == "generate" else [optimize, *traced, *mobius]


TOOLS: dict[str, Callable[[Model], list[Try]]] = {"mmedge": mmedge, "transformers.exporters": exporters, "optimum-onnx": optimum, "Olive": olive}

TASKS = (
    (("CLIPModel", "SiglipModel", "Siglip2Model", "ChineseCLIPModel"), "zero-shot-image-classification"),
    (("ClapModel",), "zero-shot-audio-classification"),
    (("Blip", "Vilt"), "visual-question-answering"),
    (("VisionEncoderDecoder", "Git"), "image-to-text-with-past"),
    (("Whisper", "Moonshine"), "automatic-speech-recognition-with-past"),
    (("T5",), "text2text-generation-with-past"),
    (("Bert",), "text-classification"),
    (("ViT",), "image-classification"),
    (("Segformer",), "semantic-segmentation"),
    (("Detr",), "object-detection"),
)


def task_of(model: Model) -> str:
    """As the Hugging Face hub names what the model does."""
    if model.architecture == "BlipForConditionalGeneration":
        return "image-to-text-with-past"
    for names, task in TASKS:
        if model.architecture.startswith(names):
            return task
    if model.architecture.endswith("ForCTC"):
        return "automatic-speech-recognition"
    if model.architecture.endswith("Classification"):
        return "audio-classification"
    return "text-generation-with-past" if model.architecture.endswith("CausalLM") else "image-text-to-text-with-past"


def for_transformers_4(checkpoint: Path, out: Path) -> None:
    """What a user with transformers 4.57 has to change in a checkpoint that 5.23 saved: two names that it does not know."""
    shutil.copytree(checkpoint, out, dirs_exist_ok=True)
    config = json.loads((out / "config.json").read_text())
    _older_rope(config)
    (out / "config.json").write_text(json.dumps(config, indent=2))
    path = out / "tokenizer_config.json"
    if path.is_file():
        settings = json.loads(path.read_text())
        if settings.get("tokenizer_class") == "TokenizersBackend":
            settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        path.write_text(json.dumps(settings, indent=2))


def _older_rope(config: dict[str, object]) -> None:
    for value in list(config.values()):
        if isinstance(value, dict):
            _older_rope(value)
    rope = config.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:
        config.setdefault("rope_theta", rope["rope_theta"])
