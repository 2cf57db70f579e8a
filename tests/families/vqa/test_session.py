"""What a session does with what its graphs give; the graphs are made up."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mmedge.errors import MmedgeError
from mmedge.families.vqa import Config, Writer
from mmedge.families.vqa.session import Session
from mmedge.processors.pixels import ImageSettings
from mmedge.processors.shortest_edge import ShortestEdgeSettings
from mmedge.processors.text import TextSettings
from mmedge.runner import Copied
from mmedge.tensors import TensorSpec

WORDS = ["[PAD]", "[DEC]", "[SEP]", "is", "it", "red", "yes", "very"]
PICTURE = np.full((8, 8, 3), 255, np.uint8)
TEXT = TextSettings(length=6, pad_id=0, pad_token="[PAD]")


class Runner:
    """``gives`` whatever it is fed, and remembers that."""

    reuses_outputs = False

    def __init__(self, gives, inputs=()):
        self.gives, self.fed, self.inputs = gives, [], inputs

    def run(self, feeds):
        self.fed.append(feeds)
        return self.gives(feeds)

    def carry(self, pairs, start):
        return Copied(self, pairs, start)


@pytest.fixture
def assets(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[PAD]"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    tokenizer.add_special_tokens(WORDS[:3])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "labels.json").write_text(json.dumps(["no", "yes", "红"]), encoding="utf-8")
    return {name: tmp_path / name for name in ("tokenizer.json", "labels.json")}


@pytest.fixture
def writer(assets):
    """Says "very red" and stops."""

    def says(feeds):
        past = feeds["past_key_0"].shape[2]
        length = past + feeds["input_ids"].shape[1]
        logits = np.eye(len(WORDS), dtype=np.float32)[[7, 5, 2][min(past, 2)]]
        return {"logits": logits[None, None], "present_key_0": np.zeros((1, 1, length, 1), np.float32)}

    names = [("input_ids", "int64", (1, "tokens")), ("cross_key_0", "float32", (1, 1, "asked", 1)), ("past_key_0", "float32", (1, 1, "past", 1))]
    runners = {
        "image_encoder": Runner(lambda feeds: {"image_key_0": np.full((1, 1, 4, 1), feeds["pixel_values"].mean(), np.float32)}),
        "question_encoder": Runner(lambda feeds: {"cross_key_0": feeds["input_ids"][:, None, :, None].astype(np.float32)}),
        "decoder": Runner(says, tuple(TensorSpec(*one) for one in names)),
    }
    config = Config(architecture="BlipForQuestionAnswering", image=ImageSettings(resize=(4, 4)), text=TEXT, writer=Writer(start=(1,), stop=(2,), context=8))
    return Session(runners, assets, config), runners


def test_picture_then_question_then_answer(writer):
    session, runners = writer
    pieces = []
    assert session.answer(PICTURE, "is it red", on_text=pieces.append) == "very red" == "".join(pieces)
    (asked,) = runners["question_encoder"].fed
    assert asked["input_ids"].tolist() == [[3, 4, 5]] and asked["attention_mask"].tolist() == [[1, 1, 1]] and asked["image_key_0"].mean() == 1
    assert [feeds["input_ids"].tolist() for feeds in runners["decoder"].fed] == [[[1]], [[7]], [[5]]]
    assert all(feeds["cross_key_0"].ravel().tolist() == [3, 4, 5] for feeds in runners["decoder"].fed)
    assert session.answer_tokens(PICTURE, "is it red", max_tokens=1) == [7]
    with pytest.raises(MmedgeError, match="has no list of them to score"):
        session.scores(PICTURE, "is it red")


def test_the_best_label(assets):
    logits = np.array([[0.0, -1.0, 2.0]], np.float32)
    image = ShortestEdgeSettings(shortest_edge=4, divisor=2, resample=3, scale=1 / 255, mean=(0.5,) * 3, std=(0.5,) * 3)
    classifier = Runner(lambda feeds: {"logits": logits})
    session = Session({"classifier": classifier}, assets, Config(architecture="ViltForQuestionAnswering", image=image, text=TEXT, writer=None))
    assert session.answer(PICTURE, "is it red") == "红"
    found = session.scores(PICTURE, "is it red " * 9, top=2)
    assert [label for label, _ in found] == ["红", "no"] and [chance for _, chance in found] == pytest.approx([1 / (1 + np.exp(-2)), 0.5])
    assert classifier.fed[-1]["input_ids"].shape == (1, 6) and classifier.fed[-1]["pixel_mask"].shape == (1, 4, 4)
    with pytest.raises(MmedgeError, match="chooses its answers and writes none"):
        session.answer_tokens(PICTURE, "is it red")


def test_what_the_checkpoint_lacked(writer, assets):
    session, runners = writer
    for lost, match in (({"text": None}, "brought no tokenizer"), ({"image": None}, "brought no image processor")):
        with pytest.raises(MmedgeError, match=match):
            Session(runners, assets, session.config.model_copy(update=lost)).answer(PICTURE, "is it red")
