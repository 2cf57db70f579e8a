"""Build the toy's one graph by hand; there is no checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from mmedge.families.toy import COLOURS, Config, Options
from mmedge.family import Allow, Case, Exported, Media, OnnxGraph


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """``image_encoder``: pixel_values float32 [batch, 3, size, size] in 0..1 -> image_embedding float32 [batch, 3] in -1..1."""
    picture = Image.open(media["cat"]).convert("RGB").resize((options.size, options.size), Image.Resampling.BILINEAR)
    pixels = (np.asarray(picture, np.float32) / 255).transpose(2, 0, 1)[None]
    colour = pixels.mean((2, 3)) * 2 - 1
    return Exported(
        graphs={"image_encoder": OnnxGraph(_graph(options.size).SerializeToString(), {"pixel_values": np.ascontiguousarray(pixels)})},
        assets={"colours.json": json.dumps(COLOURS).encode()},
        config=Config(size=options.size),
        cases=[
            Case("processor", "pixels", {"image": "@cat"}, pixels, source="Pillow"),
            Case("verb", "embed_image", {"image": "@cat"}, colour[0], source="numpy"),
        ],
    )


def _graph(size: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Mul", ["flat", "two"], ["doubled"]),
        helper.make_node("Sub", ["doubled", "one"], ["image_embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("image_embedding", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]), helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
