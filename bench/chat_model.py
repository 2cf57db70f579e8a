"""A chat model of SmolLM2-135M's size with random weights, as a checkpoint and as every contender wants it. Made once, kept beside the weights."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import environment

from mmedge.build.export import export
from mmedge.build.load import recipe_for
from mmedge.bundle import Bundle
from mmedge.families.chat import Config
from mmedge.families.chat.session import Session
from mmedge.runner import Candidate, Engine, load_backend
from mmedge.target import Target

SIZES = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
"""HuggingFaceTB/SmolLM2-135M-Instruct, config.json."""
SMALL = {"vocab_size": 1024, "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3, "num_key_value_heads": 1}
"""For trying out the comparison itself."""

GENAI = ("onnxruntime-genai==0.18.0", "onnxruntime==1.31.1", "torch==2.13.0+cpu", "transformers==5.23.0", "onnx==1.23.2", "onnx-ir==1.1.0")
OPENVINO_GENAI = ("openvino-genai==2026.4.1.0", "optimum-intel[openvino]==2.2.0", "torch==2.13.0+cpu")


def folder(small: bool) -> Path:
    path = environment.folder() / ("chat_small" if small else "chat_135m")
    path.mkdir(exist_ok=True)
    return path


def checkpoint(small: bool) -> Path:
    """A folder as ``save_pretrained`` writes it. The tokenizer is there because some contenders insist on one; nothing here uses words."""
    path = folder(small) / "checkpoint"
    if not (path / "tokenizer.json").exists():
        import torch
        import transformers
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**SIZES, **(SMALL if small else {})}))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.dim() > 1:
                    weight.normal_(std=0.1 if "embed" in name else 2.5 / weight.shape[1] ** 0.5)
        model.save_pretrained(path)
        vocabulary = {token: index for index, token in enumerate(["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(path)
    return path


def bundle(small: bool) -> Bundle:
    """What mmedge makes of the checkpoint."""
    path = folder(small) / "bundle"
    if not (path / "manifest.json").exists():
        export(recipe_for(str(checkpoint(small)), offline=True, trace=print), path, [Target.load("cpu")], report=lambda line: print(line, file=sys.stderr))
    return Bundle.open(path)


@contextlib.contextmanager
def session(small: bool, backend: str) -> Iterator[Session]:
    """mmedge's chat session in float32 on one backend, whatever a target would prefer."""
    made = bundle(small)
    model = made.manifest.models["chat"]
    target = Target.load("intel-cpu" if backend == "openvino" else "cpu")
    assets = {name: made.file(file) for name, file in model.assets.items()}
    with load_backend(backend).open(Engine(Candidate(made.graph("chat", "language"), "fp32")), target) as runner:
        yield Session({"language": runner}, assets, Config(**model.config))


def genai(small: bool) -> tuple[Path, Path]:
    """(interpreter, model folder) of onnxruntime-genai, by its own model builder."""
    python, path = environment.python_with("onnxruntime-genai", GENAI), folder(small) / "onnxruntime-genai"
    if not (path / "genai_config.json").exists():
        shutil.rmtree(path, ignore_errors=True)
        builder = [python, "-m", "onnxruntime_genai.models.builder", "-i", checkpoint(small), "-o", path, "-p", "fp32", "-e", "cpu", "-c", path / "cache"]
        subprocess.run(builder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return python, path


def openvino_genai(small: bool) -> tuple[Path, Path]:
    """(interpreter, model folder) of OpenVINO GenAI, converted by optimum-intel."""
    python, path = environment.python_with("openvino-genai", OPENVINO_GENAI), folder(small) / "openvino-genai"
    if not (path / "openvino_model.xml").exists():
        # optimum-intel asks for torchvision, whose build for CUDA does not load beside torch for the CPU and stops everything; nothing here needs it.
        subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision"], check=True, stderr=subprocess.DEVNULL)
        shutil.rmtree(path, ignore_errors=True)
        command = [
            python.with_name("optimum-cli"),
            "export",
            "openvino",
            "-m",
            checkpoint(small),
            "--task",
            "text-generation-with-past",
            "--weight-format",
            "fp32",
        ]
        subprocess.run([*command, path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return python, path
