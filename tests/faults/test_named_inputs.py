"""Named faults of what goes into a model, planted with the right checksums where somebody could make them: no command takes the bundle, and each is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from faults import planting
from onnx import numpy_helper

pytestmark = pytest.mark.full

BLIP, WHISPER = "BlipForConditionalGeneration", "WhisperForConditionalGeneration"


class TestWrongNormalization:
    """Pixels are brought to another mean or deviation than the model was trained with."""

    @pytest.mark.parametrize(("what", "value"), [("mean", [0.5] * 3), ("std", [0.5] * 3), ("scale", 1.0), ("mean", [0.0] * 3)])
    def test_of_pictures(self, clip, fails, what, value):
        planting.config(clip, "image", what, value=value)
        assert "first processor dual_encoder.pixels" in fails(clip)

    def test_of_sounds(self, damaged, fails):
        bundle = damaged("ASTForAudioClassification")
        planting.config(bundle, "fbank", "mean", value=0.0)
        assert "first processor audio.features" in fails(bundle)


def permuted(content):
    """Every token has another's id."""
    made = json.loads(content)
    words = made["model"]["vocab"]
    ids = [*words.values()]
    made["model"]["vocab"] = dict(zip(words, ids[1:] + ids[:1]))
    return json.dumps(made).encode()


class TestPermutedTokens:
    """Words have the numbers of others."""

    def test_in_the_tokenizer(self, clip, fails):
        planting.asset(clip, "tokenizer.json", permuted)
        assert "first processor dual_encoder.tokens" in fails(clip)

    @pytest.mark.parametrize("architecture", [BLIP, WHISPER])
    def test_in_one_that_only_turns_numbers_into_words(self, damaged, fails, architecture):
        bundle = damaged(architecture)
        planting.asset(bundle, "tokenizer.json", permuted)
        assert f"first processor {planting.role_of(bundle)}.words" in fails(bundle)

    def test_in_the_table_of_a_graph(self, clip, fails):
        def rows(model):
            table = next(one for one in model.graph.initializer if "token_embedding" in one.name and len(one.dims) == 2)
            array = numpy_helper.to_array(table)
            table.CopyFrom(numpy_helper.from_array(np.roll(array, 1, axis=0), table.name))

        planting.graph(clip, "text_encoder", rows)
        assert "first graph dual_encoder/text_encoder" in fails(clip)


class TestSwappedChannels:
    """Blue where red was."""

    def test_before_the_processor(self, clip, fails):
        """Mean and deviation in the order of BGR."""
        image = planting.manifest(clip)["models"]["dual_encoder"]["config"]["image"]
        for name in ("mean", "std"):
            planting.config(clip, "image", name, value=image[name][::-1])
        assert "first processor dual_encoder.pixels" in fails(clip)

    def test_in_the_weights_of_the_first_layer(self, clip, fails):
        def swap_channels(model):
            kernel = next(one for one in model.graph.initializer if len(one.dims) == 4 and one.dims[1] == 3)
            kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel)[:, ::-1].copy(), kernel.name))

        planting.graph(clip, "image_encoder", swap_channels)
        assert "first graph dual_encoder/image_encoder" in fails(clip)

    def test_of_the_picture_that_a_session_is_given(self, clip, fails, monkeypatch):
        from mmedge.processors import pixels

        monkeypatch.setattr(pixels, "load_image", lambda picture, load=pixels.load_image: load(picture)[..., ::-1])
        assert "first processor dual_encoder.pixels" in fails(clip)


def older(content):
    """The same tokenizer before its last words and merges were learnt."""
    made = json.loads(content)
    model = made["model"]
    if merges := model.get("merges"):
        model["merges"] = merges[: len(merges) // 2]
    else:
        kept = dict(list(model["vocab"].items())[: -len(model["vocab"]) // 3])
        model["vocab"] = {word: index for index, word in enumerate(dict.fromkeys([*list(kept)[:7], *reversed(list(kept)[7:])]))}
    return json.dumps(made).encode()


class TestStaleTokenizer:
    """tokenizer.json of another version beside the graphs."""

    def test_with_the_right_checksum(self, clip, fails):
        planting.asset(clip, "tokenizer.json", older)
        assert "first processor dual_encoder.tokens" in fails(clip)

    @pytest.mark.parametrize("architecture", [BLIP, WHISPER])
    def test_one_that_only_turns_numbers_into_words(self, damaged, fails, architecture):
        bundle = damaged(architecture)
        planting.asset(bundle, "tokenizer.json", older)
        assert f"first processor {planting.role_of(bundle)}.words" in fails(bundle)

    def test_copied_over_the_right_one(self, clip, refused):
        path = next((clip / "dual_encoder").glob("tokenizer.*"))
        path.write_bytes(older(path.read_bytes()))
        for command in (["inspect", clip], ["check", clip, "-t", "cpu"]):
            what, _ = refused(*command)
            assert path.name in what and "is damaged" in what

    def test_with_more_words_than_the_model_has(self, tmp_path, refused):
        """It is an export that finds a tokenizer which is newer than the weights."""
        from checkpoints.dual_encoder import make_clip

        make_clip(tmp_path / "checkpoint")
        path = tmp_path / "checkpoint" / "tokenizer.json"
        content = json.loads(path.read_text())
        content["model"]["vocab"] |= {f"new{index}": 390 + index for index in range(300)}
        path.write_text(json.dumps(content))
        what, fix = refused("export", tmp_path / "checkpoint", "-t", "cpu", "-o", tmp_path / "new.bundle")
        assert " tokens and the model knows 400: it is of another version" in what and "tokenizer.json of this checkpoint" in fix
