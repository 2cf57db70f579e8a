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
        self.processor = transformers.AutoProcessor.from_pretrained(folder)

    def inputs(self, picture, question):
        image = transformers.image_utils.load_image(picture if hasattr(picture, "mode") else str(picture))
        return self.processor(images=image, text=question, return_tensors="pt")

    def tokens(self, picture, question):
        """Greedy, with the start, up to 20 more."""
        return self.model.generate(**self.inputs(picture, question), num_beams=1, do_sample=False, max_new_tokens=20)[0].tolist()

    def logits(self, picture, question):
        with torch.no_grad():
            return self.model(**self.inputs(picture, question)).logits[0].numpy()

    def answer(self, picture, question):
        if hasattr(self.model, "classifier"):
            return self.model.config.id2label[int(self.logits(picture, question).argmax())]
        return self.processor.decode(self.tokens(picture, question), skip_special_tokens=True)


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
