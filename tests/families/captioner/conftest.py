from __future__ import annotations

import pytest
import torch
import transformers


class Theirs:
    """A checkpoint as transformers itself uses it."""

    def __init__(self, folder):
        torch.set_num_threads(1)
        config = transformers.AutoConfig.from_pretrained(folder)
        self.model = getattr(transformers, config.architectures[0]).from_pretrained(folder, attn_implementation="eager").eval()
        self.image, self.words = transformers.AutoImageProcessor.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)

    def pixels(self, picture):
        return self.image(transformers.image_utils.load_image(picture if hasattr(picture, "mode") else str(picture)), return_tensors="pt").pixel_values

    def tokens(self, picture, **given):
        """Greedy, with the start, up to 20 more."""
        return self.model.generate(pixel_values=self.pixels(picture), num_beams=1, do_sample=False, max_new_tokens=20, **given)[0].tolist()

    def caption(self, picture, **given):
        return self.words.decode(self.tokens(picture, **given), skip_special_tokens=True)


@pytest.fixture(scope="session")
def theirs():
    made = {}

    def load(folder):
        if folder not in made:
            made[folder] = Theirs(folder)
        return made[folder]

    return load


@pytest.fixture(autouse=True)
def _no_guards(monkeypatch):
    """A random model stammers; what is compared here is the arithmetic."""
    monkeypatch.setattr("mmedge.generate.decode.loops", lambda tokens: False)
