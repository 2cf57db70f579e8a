"""What a captioner's session does with what its graphs give; the graphs are made up."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mmedge.errors import MmedgeError
from mmedge.families.captioner import Config
from mmedge.families.captioner.session import Session
from mmedge.generate.decode import Sampling
from mmedge.processors.pixels import ImageSettings
from mmedge.runner import Copied
from mmedge.tensors import TensorSpec

WORDS = ["<s>", "</s>", "a", "cat", "on", "the", "mat", "photo", "of"]
PICTURE = np.full((6, 6, 3), 255, np.uint8)


class Encoder:
    reuses_outputs = True

    def run(self, feeds):
        assert feeds["pixel_values"].shape == (1, 3, 4, 4)
        return {"cross_key_0": np.full((1, 1, 2, 2), feeds["pixel_values"].mean(), np.float32)}


class Decoder:
    """Says ``says``, and remembers what it was fed; its cache counts."""

    reuses_outputs = True
    outputs = ()

    def __init__(self, *says):
        self.says, self.fed = [WORDS.index(word) for word in says], []
        seen = TensorSpec("cross_key_0", "float32", (1, 1, 2, 2))
        self.inputs = (TensorSpec("input_ids", "int64", (1, "tokens")), seen, TensorSpec("past_key_0", "float32", (1, 1, "past", 1)))

    def run(self, feeds):
        ids, past = feeds["input_ids"][0], feeds["past_key_0"]
        self.fed.append((ids.tolist(), past.shape[2], float(feeds["cross_key_0"].mean())))
        logits = np.zeros((1, 1, len(WORDS)), np.float32)
        logits[0, 0, self.says[min(len(self.fed) - 1, len(self.says) - 1)]] = 1
        return {"logits": logits, "present_key_0": np.zeros((1, 1, past.shape[2] + len(ids), 1), np.float32)}

    def carry(self, pairs, start):
        return Copied(self, pairs, start)


@pytest.fixture
def make(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<s>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    tokenizer.add_special_tokens(WORDS[:2])
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    def make(*says, **settings):
        given = {"architecture": "GitForCausalLM", "image": ImageSettings(resize=(4, 4)), "tokenizer": True, "start": (0,), "stop": (1,), "context": 8}
        config, decoder = Config(**{**given, **settings}), Decoder(*says)
        assets = {"tokenizer.json": tmp_path / "tokenizer.json"} if config.tokenizer else {}
        return Session({"image_encoder": Encoder(), "decoder": decoder}, assets, config), decoder

    return make


def test_one_token_at_a_time_after_the_start(make):
    session, decoder = make("a", "cat", "</s>")
    assert session.caption(PICTURE) == "a cat"
    assert decoder.fed == [([0], 0, 1.0), ([2], 1, 1.0), ([3], 2, 1.0)], "the start, then each token, over a picture that is all white"


def test_a_prompt_is_part_of_the_caption_and_of_what_is_shown(make):
    session, decoder = make("a", "cat", "</s>")
    pieces = []
    assert session.caption(PICTURE, "photo of", on_text=pieces.append) == "photo of a cat" == "".join(pieces)
    assert decoder.fed[0] == ([0, 7, 8], 0, 1.0) and len(pieces) == 3


def test_the_context_ends_a_caption(make):
    session, decoder = make("a", "cat", "on", "the", "mat", "a", "photo", "of", "the", "cat", context=6)
    assert session.caption_tokens(PICTURE) == [2, 3, 4, 5, 6]
    assert max(past + len(ids) for ids, past, _ in decoder.fed) <= 6
    with pytest.raises(MmedgeError, match="the prompt has 7 tokens and the context 6"):
        session.caption(PICTURE, "a cat on the mat photo")


def test_sampling_is_heeded(make):
    assert make("a", "cat", "on")[0].caption_tokens(PICTURE, max_tokens=2) == [2, 3]
    assert make("a", "cat", "on")[0].caption(PICTURE, sampling=Sampling(max_tokens=1)) == "a"
    assert make("a", "cat", "on")[0].caption_tokens(PICTURE, sampling=Sampling(max_tokens=9), max_tokens=1) == [2]


def test_suppressed_tokens(make):
    session, _ = make("a", "a", "cat", "</s>", suppress_first=(2,))
    assert session.caption_tokens(PICTURE)[0] != 2
    session, _ = make("a", "cat", "</s>", suppress=(3,))
    assert 3 not in session.caption_tokens(PICTURE, max_tokens=3)


def test_what_the_checkpoint_lacked(make):
    session, _ = make("a", "</s>", tokenizer=False)
    assert session.caption_tokens(PICTURE) == [2]
    with pytest.raises(MmedgeError, match="brought no tokenizer"):
        session.caption(PICTURE)
    with pytest.raises(MmedgeError, match="brought no tokenizer"):
        session.caption_tokens(PICTURE, "a photo")
    session, _ = make("a", "</s>", image=None)
    with pytest.raises(MmedgeError, match="brought no image processor"):
        session.caption(PICTURE)
