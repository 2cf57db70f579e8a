"""Whisper base at its real size, with random weights: how long its export takes, and how much memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import pytest
from checkpoints import spread
from transformers import WhisperConfig, WhisperForConditionalGeneration

from mmedge.bundle import Bundle

pytestmark = pytest.mark.slow

BASE = {
    "vocab_size": 51_865, "d_model": 512, "encoder_layers": 6, "decoder_layers": 6, "encoder_attention_heads": 8, "decoder_attention_heads": 8,
    "encoder_ffn_dim": 2_048, "decoder_ffn_dim": 2_048,
}  # fmt: skip


def test_export_within_its_memory(tmp_path, record_property):
    """At most 2.5 times the checkpoint and 1 GB; every graph proven; 20 tokens of both golden sounds as transformers' own generate has them."""
    folder, out = tmp_path / "base", tmp_path / "base.bundle"
    spread(WhisperForConditionalGeneration(WhisperConfig(**BASE)), scale=1.0).save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"is_multilingual": True}))
    size_mb = (folder / "model.safetensors").stat().st_size / 2**20
    start = time.perf_counter()
    command = [sys.executable, "-m", "mmedge", "export", str(folder), "-o", str(out), "--target", "cpu"]
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    record_property("seconds", round(seconds))
    record_property("peak_mb", round(peak_mb))
    print(f"\nWhisper base: {seconds:.0f} s, {peak_mb:.0f} MB for a checkpoint of {size_mb:.0f} MB")
    assert peak_mb <= 2.5 * size_mb + 1024
    model = Bundle.open(out).manifest.models["speech"]
    assert all(graph.parity is not None and graph.parity <= 1 for graph in model.graphs.values())
    tokens = [case.expected for case in model.cases if case.call == "tokens"]
    assert len(tokens) == 2 and tokens[0] != tokens[1] and all(tokens)
