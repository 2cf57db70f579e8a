"""Export with transformers.exporters; runs in an environment that holds transformers and nothing of mmedge.

``python coverage_transformers.py HOW ARCHITECTURE CHECKPOINT REFERENCE OUT``. HOW is ``export``, ``generation``, ``tokens`` (the same with a decode step of
several tokens, and a prompt of several where the decoder's own has one), or ``by hand`` (also every encoder, projector and embedding, by calls of their own).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter
from transformers.exporters.utils import decompose_for_generation, decompose_multimodal


def main(how: str, architecture: str, checkpoint: str, reference: Path, out: Path) -> None:
    model = getattr(transformers, architecture).from_pretrained(checkpoint).eval()
    with np.load(reference / "reference.npz") as stored:  # its last input: no size is 1 that could be another
        index = max(key.split("/")[0] for key in stored)
        inputs = {key.split("/")[2]: torch.from_numpy(stored[key]) for key in stored if key.startswith(f"{index}/in/") and "/host/" not in key}
    prompt = inputs.pop("prompt", None)
    exporter, config = OnnxExporter(), OnnxConfig(dynamic=True)
    out.mkdir(parents=True, exist_ok=True)
    if how == "export":
        exporter.export(model, inputs, config=config).save_pretrained(out)
        return
    separate = prompt is not None and "input_ids" not in inputs
    if how != "generation" and separate:
        inputs["decoder_input_ids"] = prompt.repeat(1, 3)
    if how != "by hand":
        exporter.export_for_generation(model, inputs, config, multi_token_decode=how == "tokens").save_pretrained(out)
        return
    for name, (module, given) in components(model, inputs).items():
        exporter.save_program(exporter.export_program(module, given, config=config)[0], out / f"{name}.onnx")


def components(model: Any, inputs: dict[str, Any]) -> dict[str, tuple[torch.nn.Module, dict[str, Any]]]:
    """What transformers finds, and beside that what it leaves out."""
    stages = dict(decompose_for_generation(model, dict(inputs), multi_token_decode=True))
    pictures = {key: value for key, value in inputs.items() if key not in ("decoder_input_ids", "input_ids", "attention_mask", "mm_token_type_ids")}
    if model.config.is_encoder_decoder or "decoder_input_ids" in inputs:
        stages["encoder"] = (model.get_encoder(), pictures)
    elif pictures:
        found = decompose_multimodal(model, dict(inputs))
        stages = {**{name: found[name] for name in found if name not in ("language_model", "lm_head")}, **stages}
        stages["embed_tokens"] = (model.get_input_embeddings(), {"input": inputs["input_ids"]})
    return stages


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], *sys.argv[2:4], Path(sys.argv[4]), Path(sys.argv[5]))
    print(json.dumps("exported"))
