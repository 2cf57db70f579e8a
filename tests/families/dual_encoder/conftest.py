"""Each architecture once, small, exported and opened; and what transformers itself makes of the same pictures, sounds and texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import dual_encoder
from checks import compiled, export_folder, on_one_thread
from PIL import Image

from mmedge.family import Allow
from mmedge.nets.checkpoint import load
from mmedge.processors.audio import sound_at

GOLDEN = Path(__file__).parents[3] / "mmedge" / "golden"
PICTURES = [GOLDEN / "cat.jpg", GOLDEN / "coffee.jpg"]
LABELS = ["a cat", "a cup of coffee", "A Bicycle in front of the house", "seven dogs", "一只猫，ＡＢＣ"]
KINDS = {
    "clip": dual_encoder.make_clip,
    "chinese_clip": dual_encoder.make_chinese_clip,
    "siglip": dual_encoder.make_siglip,
    "siglip2": dual_encoder.make_siglip2,
    "clap": dual_encoder.make_clap,
    "clap, fused": dual_encoder.make_fused_clap,
}


@dataclass
class Made:
    """A checkpoint, its bundle and its open session."""

    kind: str
    model: Any
    folder: Path
    bundle: Any
    session: Any

    @property
    def hears(self) -> bool:
        return self.kind.startswith("clap")

    @property
    def items(self) -> list[Any]:
        """Two: pictures that are not square, or sounds that fit into the window (a longer one is cut at random by transformers)."""
        if not self.hears:
            return PICTURES
        return [(sound_at(GOLDEN / f"{name}.wav", 16_000)[: 16_000 + 7000 * more], 16_000) for more, name in enumerate(("question", "remark"))]

    def feeds(self, item: Any) -> dict[str, np.ndarray]:
        session = self.session
        return session.log_mel(item) if self.hears else session.patches(item) if self.kind == "siglip2" else {"pixel_values": session.pixels(item)}

    def theirs(self, items: list[Any], texts: list[str]) -> dict[str, np.ndarray]:
        """By transformers' own processors and ``forward``: ``items`` and ``texts`` float32 [B, D], and ``logits`` [items, texts]."""
        import torch
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder)
        siglip = self.kind.startswith("siglip")
        tokens = dict(tokenizer(texts, padding="max_length" if siglip else True, truncation=True, max_length=dual_encoder.TOKENS, return_tensors="pt"))
        tokens = {name: tokens[name] for name in (("input_ids",) if siglip else ("input_ids", "attention_mask"))}
        if self.hears:
            extractor = transformers.AutoFeatureExtractor.from_pretrained(self.folder)
            inputs = [extractor(sound_at(item, 48_000), sampling_rate=48_000, return_tensors="pt") for item in items]  # one by one: a batch draws lots
            feeds = {name: torch.cat([one[name] for one in inputs]) for name in inputs[0]}
        else:
            feeds = transformers.AutoImageProcessor.from_pretrained(self.folder)([Image.open(item) for item in items], do_convert_rgb=True, return_tensors="pt")
        with torch.inference_mode():
            output = self.model(**feeds, **tokens)
        logits = output.logits_per_audio if self.hears else output.logits_per_image
        embedded = output.audio_embeds if self.hears else output.image_embeds
        return {"items": embedded.numpy(), "texts": output.text_embeds.numpy(), "logits": logits.numpy()}


@pytest.fixture(scope="module", params=KINDS)
def made(request, tmp_path_factory, small_bundle):
    on_one_thread()
    folder = tmp_path_factory.mktemp("towers") / "checkpoint"
    architecture = next((name for name, make in dual_encoder.CHECKPOINTS.items() if make is KINDS[request.param]), None)
    out = folder.parent / "towers.bundle"
    if architecture:
        small = small_bundle(architecture)
        folder, bundle = small.path.with_name(f"{architecture}.checkpoint"), compiled(small, out, "cpu")
        model = load(architecture, folder, Allow())
    else:
        model, bundle = KINDS[request.param](folder), export_folder(folder, out, "dual_encoder")
    with bundle.session("dual_encoder", "cpu") as session:
        yield Made(request.param, model, folder, bundle, session)
