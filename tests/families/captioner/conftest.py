from __future__ import annotations

import transformers
from theirs import Theirs, _no_guards, image, loaded_once

__all__ = ["_no_guards", "theirs"]


class Captioner(Theirs):
    def __init__(self, folder):
        super().__init__(folder)
        self.image, self.words = transformers.AutoImageProcessor.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)

    def pixels(self, picture):
        return self.image(image(picture), return_tensors="pt").pixel_values

    def tokens(self, picture, **given):
        return self.tokens_of({"pixel_values": self.pixels(picture)}, **given)

    def caption(self, picture, **given):
        return self.words.decode(self.tokens(picture, **given), skip_special_tokens=True)


theirs = loaded_once(Captioner)
