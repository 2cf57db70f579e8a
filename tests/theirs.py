"""Checkpoints that see, as transformers itself uses them, for the tests of families that hold themselves against it."""

from __future__ import annotations

import pytest
import torch
import transformers


class Theirs:
    """The model that a checkpoint's config.json names."""

    def __init__(self, folder):
        torch.set_num_threads(1)
        config = transformers.AutoConfig.from_pretrained(folder)
        self.model = getattr(transformers, config.architectures[0]).from_pretrained(folder, attn_implementation="eager").eval()

    def tokens_of(self, inputs, **given):
        """Greedy, with the start, up to 20 more."""
        return self.model.generate(**inputs, num_beams=1, do_sample=False, max_new_tokens=20, **given)[0].tolist()


def image(picture):
    return transformers.image_utils.load_image(picture if hasattr(picture, "mode") else str(picture))


def loaded_once(kind):
    """The fixture ``theirs``: a folder's ``kind`` of ``Theirs``, loaded once a session."""

    @pytest.fixture(scope="session")
    def theirs():
        made = {}

        def load(folder):
            if folder not in made:
                made[folder] = kind(folder)
            return made[folder]

        return load

    return theirs


@pytest.fixture(autouse=True)
def _no_guards(monkeypatch):
    """A random model stammers; what is compared here is the arithmetic."""
    monkeypatch.setattr("mmedge.generate.decode.loops", lambda tokens: False)
