"""transformers' own quantizers: checkpoints that are loaded in fewer bits and run by PyTorch. They take no graphs, so their modules stand in for them.

``python quantize_torch.py WAY PART CHECKPOINT FEEDS`` runs in their environment: for a number on stdin it answers the median milliseconds of a run over so many
seconds; for two paths it runs the feeds of the first and writes the outputs to the second.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

NAME = "transformers"
REQUIREMENTS = (
    *("torch==2.13.0+cpu", "transformers==5.23.0", "torchao==0.18.0", "optimum-quanto==0.2.7"),
    *("bitsandbytes==0.50.2", "accelerate==1.15.0", "numpy==2.4.6"),
)
FEWEST = 5
WAYS = ("torchao int8 dynamic, compiled", "torchao int8 weights, compiled", "quanto int8", "bitsandbytes int8")


def ways(model, key):
    """What is tried on a graph, as ``quantize_tools.Made``; what cannot be tried says why."""
    from quantize_tools import Made

    part = part_of(model, key)
    if part == "no transformer":
        return [Made(f"{NAME} torchao int8 dynamic", note="it has no such model: a timm checkpoint")]
    if part in ("whisper", "language"):
        said = {
            "whisper": "its encoder takes 30 s of sound and nothing shorter, and its decoder has other inputs",
            "language": "its cache is no input of a module",
        }
        return [Made(f"{NAME} torchao int8 dynamic", note=f"not the same graph: {said[part]}")]
    return [Made(f"{NAME} {way}", file=f"{part}:{checkpoint(part)}") for way in WAYS]


def part_of(model, key):
    if model.role == "eyes":
        return {"image_encoder": "no transformer", "text_encoder": "minilm"}[key]
    if model.role == "ears":
        return "whisper"
    if key.startswith("language"):
        return "language"
    return {"image_encoder": "clip image", "text_encoder": "clip text"}[key] if "CLIP" in model.label else "smolvlm image"


def checkpoint(part):
    """A folder that ``from_pretrained`` loads."""
    import environment
    from quantize_models import folder

    from mmedge import hub
    from mmedge.recipe import Recipe

    if part == "minilm":
        files = Recipe.load("assistant-mini").models["eyes"].files
        names = {"sentence_encoder.safetensors": "model.safetensors", "sentence_encoder.json": "config.json"}
        return hub.gather({new: (files[name].sources, files[name].sha256) for name, new in names.items()})
    return folder() / "smolvlm" if part == "smolvlm image" else environment.folder() / "fp16" / "clip"


def command(model, key, way, feeds):
    import environment

    part = part_of(model, key)
    python = environment.python_with("quantize-transformers", REQUIREMENTS)
    return (str(python), __file__, way.removeprefix(f"{NAME} "), part, str(checkpoint(part)), feeds)


class opened:
    """A runner over such a process."""

    reuses_outputs = False

    def __init__(self, model, key, way):
        import subprocess
        import tempfile

        self.inputs, self.outputs = model.graph(key).inputs, model.graph(key).outputs
        self._scratch = tempfile.TemporaryDirectory()
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        asked = command(model, key, way, str(model.feeds(key)[0]))
        self._process = subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True)

    def run(self, feeds):
        import numpy as np

        paths = [Path(self._scratch.name) / name for name in ("in.npz", "out.npz")]
        np.savez(paths[0], **feeds)
        self._process.stdin.write(json.dumps([str(path) for path in paths]) + "\n")
        self._process.stdin.flush()
        if not self._process.stdout.readline():
            self._log.seek(0)
            lines = [line for line in self._log.read().splitlines() if "Error" in line.split(":")[0]]
            raise RuntimeError(lines[-1] if lines else "ended without a word")
        with np.load(paths[1]) as stored:
            return dict(stored.items())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()
        self._log.close()
        self._scratch.cleanup()


# From here on in the quantizers' own environment.


def config(way):
    import transformers

    if way.startswith("torchao"):
        from torchao import quantization

        kind = quantization.Int8DynamicActivationInt8WeightConfig if "dynamic" in way else quantization.Int8WeightOnlyConfig
        return transformers.TorchAoConfig(kind())
    if way.startswith("quanto"):
        return transformers.QuantoConfig(weights="int8")
    return transformers.BitsAndBytesConfig(load_in_8bit=True)


def module(way, part, path):
    """feeds -> outputs, as the graph has them."""
    import torch
    import transformers
    from torch.nn import functional

    kind = {"minilm": "AutoModel", "smolvlm image": "SmolVLMForConditionalGeneration"}.get(part, "CLIPModel")
    model = getattr(transformers, kind).from_pretrained(path, quantization_config=config(way), device_map="cpu", dtype=torch.float32).eval()

    def unit(values):
        return functional.normalize(values, dim=-1)

    def minilm(input_ids, attention_mask):
        states = model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(states.dtype)
        return unit((states * mask).sum(1) / mask.sum(1))

    def clip_image(pixel_values):
        return unit(model.visual_projection(model.vision_model(pixel_values).pooler_output))

    def clip_text(input_ids, attention_mask):
        return unit(model.text_projection(model.text_model(input_ids=input_ids, attention_mask=attention_mask).pooler_output))

    def smolvlm_image(pixel_values):
        return model.model.vision_model(pixel_values).last_hidden_state

    run = {"minilm": minilm, "clip image": clip_image, "clip text": clip_text, "smolvlm image": smolvlm_image}[part]
    name = {"minilm": "text_embedding", "clip image": "image_embedding", "clip text": "text_embedding", "smolvlm image": "image_states"}[part]
    if way.endswith("compiled"):
        import torch._inductor.config as inductor

        inductor.freezing = True
        run = torch.compile(run, dynamic=part in ("minilm", "clip text"))

    def whole(feeds):
        with torch.inference_mode():
            return {name: run(**{key: torch.from_numpy(array) for key, array in feeds.items()}).float().numpy()}

    return whole


def serve(way, part, path, feeds):
    import numpy as np

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def loaded(file):
        with np.load(file) as stored:
            return dict(stored.items())

    run, given = module(way, part, path), loaded(feeds)
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, list):
            np.savez(asked[1], **run(loaded(asked[0])))
            answers.write("{}\n")
        else:
            spent, until = [], time.perf_counter() + asked
            while len(spent) < FEWEST or time.perf_counter() < until:
                begin = time.perf_counter()
                run(given)
                spent.append((time.perf_counter() - begin) * 1e3)
            answers.write(f"{sorted(spent[1:])[len(spent[1:]) // 2]}\n")
        answers.flush()


if __name__ == "__main__":
    serve(*sys.argv[1:])
