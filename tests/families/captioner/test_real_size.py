"""BLIP base at its real size, with random weights: 247 million, 384 pixels, twelve layers on both sides."""

import pytest
import torch
import transformers
from checkpoints.captioner import lively
from pictures import five
from real_size import exported
from small_sessions import opened

pytestmark = pytest.mark.slow


def test_blip_base(tmp_path):
    folder = tmp_path / "blip"
    torch.manual_seed(0)
    config = transformers.BlipConfig(text_config={"num_attention_heads": 12}, vision_config={})
    model = lively(transformers.BlipForConditionalGeneration(config))
    model.save_pretrained(folder)
    transformers.BlipImageProcessorPil().save_pretrained(folder)
    bundle = exported(folder, folder, tmp_path / "blip.bundle")
    image = transformers.AutoImageProcessor.from_pretrained(folder)
    said = []
    with opened(bundle) as session:
        for picture in five()[:3]:
            pixels = image(transformers.image_utils.load_image(picture if hasattr(picture, "mode") else str(picture)), return_tensors="pt").pixel_values
            tokens = model.generate(pixel_values=pixels, num_beams=1, do_sample=False, max_new_tokens=20)[0].tolist()
            said.append([token for token in tokens[1:] if token != config.text_config.sep_token_id])
            assert session.caption_tokens(picture, max_tokens=20) == said[-1]
    assert len({tuple(tokens) for tokens in said}) == 3
