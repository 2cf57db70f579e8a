"""Folders that optimum-onnx really wrote, in an environment of its own: what mmedge makes of them says what transformers' ``generate`` says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checks import distinct, export_folder

from mmedge.build.golden import media
from mmedge.generate.decode import Sampling, until_loop
from mmedge.processors.audio import load_sound
from mmedge.processors.resample import resample
from mmedge.processors.tokenizer import read_tokenizer

pytestmark = pytest.mark.slow

CPU_TORCH = "https://download.pytorch.org/whl/cpu"
PEER = ("torch==2.13.0+cpu", "optimum-onnx==0.1.0", "transformers==4.57.6", "onnx==1.23.2", "onnxruntime==1.31.1", "Pillow")
SHORT = Sampling(max_tokens=20)
SECONDS = ((0.0, 1.0), (0.4, 1.4), (0.0, 2.0))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folders, the media, and what transformers 4.57 says to them. ``MMEDGE_OPTIMUM`` names a Python that has optimum-onnx already."""
    out = tmp_path_factory.mktemp("optimum")
    python = os.environ.get("MMEDGE_OPTIMUM")
    if python is None:
        subprocess.run([sys.executable, "-m", "venv", out / "env"], check=True)
        python = str(out / "env" / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--extra-index-url", CPU_TORCH, *PEER], check=True)
    (out / "media").mkdir()
    for name in ("cat", "coffee"):
        shutil.copy(media()[name], out / "media" / f"{name}.jpg")
    for name in ("question", "remark"):
        samples, rate_hz = load_sound(media()[name])
        heard = resample(samples, rate_hz, 16_000)
        for index, (begin, end) in enumerate(SECONDS):
            np.save(out / "media" / f"{name}-{index}.npy", heard[round(begin * 16_000) : round(end * 16_000)])
    script = Path(__file__).with_name("write_with_optimum.py")
    subprocess.run([python, script, out, out / "media"], check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})
    return out


def variants(folder):
    """As it was written; with the pair of decoders alone; with the merged one alone."""
    yield folder
    if (folder / "decoder_model_merged.onnx").is_file():
        for name, gone in (("pair", ("decoder_model_merged.onnx",)), ("merged", ("decoder_model.onnx", "decoder_with_past_model.onnx"))):
            copy = Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-{name}"), dirs_exist_ok=True))
            for file in gone:
                (copy / file).unlink()
            yield copy


@pytest.mark.parametrize(("name", "verb"), [("whisper", "transcribe"), ("captioner", "caption"), ("chat", "chat")])
def test_what_optimum_wrote_says_what_generate_says(written, tmp_path, name, verb):
    said = json.loads((written / "said.json").read_text())[name]
    assert distinct(list(said.values())) and all(said.values())
    for folder in variants(written / f"{name}-onnx"):
        bundle = export_folder(folder, tmp_path / folder.name, "onnx", "cpu", "intel-cpu")
        with bundle.session("onnx", target="cpu") as session:
            for item, expected in said.items():
                stop = bundle.manifest.models["onnx"].config["stop"]
                tokens = until_loop(expected[: next((at for at, token in enumerate(expected) if token in stop), len(expected))])
                words = read_tokenizer(folder / "tokenizer.json").decode(tokens, skip_special_tokens=True)
                given = {"transcribe": _sound, "caption": _picture, "chat": lambda media, text: text}[verb](written / "media", item)
                assert getattr(session, verb)(given, sampling=SHORT).strip() == words.strip()


def _sound(folder, name):
    return np.load(folder / f"{name}.npy", allow_pickle=False), 16_000


def _picture(folder, name):
    return folder / f"{name}.jpg"
