"""BLIP base at its real size, with random weights: 247 million, 384 pixels, twelve layers on both sides."""

import resource
import subprocess
import sys

import pytest
import torch
import transformers
from checkpoints.captioner import lively
from pictures import five
from small_sessions import opened

from mmedge.bundle import Bundle

pytestmark = pytest.mark.slow

TARGET = """schema = "mmedge.target/1"
name = "plain"
summary = "for tests"
backends = ["ort"]
max_opset = 18
max_ir = 10
[precisions]
ort = ["fp32"]
"""


def test_blip_base(tmp_path):
    folder, target, out = tmp_path / "blip", tmp_path / "plain.toml", tmp_path / "blip.bundle"
    torch.manual_seed(0)
    config = transformers.BlipConfig(text_config={"num_attention_heads": 12}, vision_config={})
    model = lively(transformers.BlipForConditionalGeneration(config))
    model.save_pretrained(folder)
    transformers.BlipImageProcessorPil().save_pretrained(folder)
    target.write_text(TARGET)

    # In a process of its own, whose memory is its own.
    done = subprocess.run([sys.executable, "-m", "mmedge", "export", str(folder), "--target", str(target), "-o", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    print(f"peak {peak / 1e9:.2f} GB, checkpoint {size / 1e9:.2f} GB")
    assert peak <= 2.5 * size + (1 << 30)

    image = transformers.AutoImageProcessor.from_pretrained(folder)
    said = []
    with opened(Bundle.open(out)) as session:
        for picture in five()[:3]:
            pixels = image(transformers.image_utils.load_image(picture if hasattr(picture, "mode") else str(picture)), return_tensors="pt").pixel_values
            tokens = model.generate(pixel_values=pixels, num_beams=1, do_sample=False, max_new_tokens=20)[0].tolist()
            said.append([token for token in tokens[1:] if token != config.text_config.sep_token_id])
            assert session.caption_tokens(picture, max_tokens=20) == said[-1]
    assert len({tuple(tokens) for tokens in said}) == 3
