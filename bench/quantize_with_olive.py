"""Olive: its passes one after the other."""

import os
from pathlib import Path

import numpy as np
import torch
from quantize_peer import FEEDS, GRAPH, OUT, answer


def olive(*passes):
    from olive.data.registry import Registry
    from olive.model import ONNXModelHandler
    from olive.package_config import OlivePackageConfig
    from olive.passes.olive_pass import create_pass_from_dict

    class Stored(torch.utils.data.Dataset):
        def __len__(self):
            return len(FEEDS)

        def __getitem__(self, index):
            with np.load(FEEDS[index]) as stored:
                return {name: torch.from_numpy(array) for name, array in stored.items()}, 0

    @Registry.register_dataset("stored_feeds")
    def stored(**_):
        return Stored()

    data = {"name": "stored", "load_dataset_config": {"type": "stored_feeds"}, "pre_process_data_config": {"type": "skip_pre_process"}}
    data["dataloader_config"] = {"type": "no_auto_batch_dataloader"}
    package, model = OlivePackageConfig.load_default_config(), ONNXModelHandler(GRAPH)
    for number, (name, options) in enumerate(passes):
        config = {**options, **({"data_config": data} if name == "OnnxStaticQuantization" else {})}
        made = create_pass_from_dict(package.import_pass_module(name), config, disable_search=True)
        model = made.run(model, str(OUT / f"step{number}" / "model.onnx"))
    source = Path(model.model_path)
    for path in source.parent.iterdir():
        os.replace(path, OUT / path.name)
    if source.name != "model.onnx":
        os.replace(OUT / source.name, OUT / "model.onnx")


STATIC = {"precision": "int8", "activation_type": "uint8", "per_channel": True}
PEEPHOLE = ("OnnxPeepholeOptimizer", {})
WAYS = {
    "dynamic": lambda: olive(PEEPHOLE, ("OnnxDynamicQuantization", {"precision": "int8", "per_channel": True})),
    "static minmax": lambda: olive(PEEPHOLE, ("OnnxStaticQuantization", {**STATIC, "calibrate_method": "MinMax"})),
    "static percentile": lambda: olive(PEEPHOLE, ("OnnxStaticQuantization", {**STATIC, "calibrate_method": "Percentile"})),
    "blocks of 4 bits": lambda: olive(PEEPHOLE, ("OnnxBlockWiseRtnQuantization", {"bits": 4, "block_size": 32, "accuracy_level": 4})),
}

answer(WAYS)
