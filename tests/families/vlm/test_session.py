"""The session over the export's own modules, against transformers' processors and ``generate``."""

import numpy as np
import pytest
from checkpoints.vlm import make_llava, make_qwen3_vl, make_smolvlm
from vlm_made import CAT, CHATS, COFFEE, make, said, tokens

from mmedge.errors import MmedgeError
from mmedge.families.vlm import Options
from mmedge.generate.decode import Sampling

pytestmark = pytest.mark.full

SHORT = Sampling(max_tokens=20)


@pytest.mark.usefixtures("_no_guards")
def test_tokens_equal_generate_in_both_forms_of_the_cache(made, tmp_path):
    growing, fixed = made.session(tmp_path), made.session(tmp_path, fixed=True)
    expected = {name: made.reference.reply(messages) for name, messages in CHATS.items()}
    assert len({tuple(reply) for reply in expected.values()}) == len(CHATS), "a model that ignores its input proves nothing"
    assert all(len(set(reply)) >= 5 for reply in expected.values()), expected
    assert {name: tokens(growing, messages) for name, messages in CHATS.items()} == expected
    assert {name: tokens(fixed, messages) for name, messages in CHATS.items()} == expected


@pytest.mark.parametrize("name", list(CHATS))
def test_prompts_and_pixels_are_those_of_the_processor(made, tmp_path, name):
    session, expected = made.session(tmp_path), made.reference.inputs(CHATS[name])
    np.testing.assert_array_equal(session.tokens(CHATS[name]), expected["input_ids"][0].numpy())
    pictures = [part["image"] for message in CHATS[name] if not isinstance(message["content"], str) for part in message["content"] if "image" in part]
    if pictures:
        pixels = np.concatenate([session.pixels(picture)["pixel_values"] for picture in pictures])
        np.testing.assert_array_equal(pixels, expected["pixel_values"].numpy().reshape(pixels.shape))


def test_text_alone_leaves_the_image_graphs_alone(made, tmp_path):
    session = made.session(tmp_path)
    session.chat(CHATS["text alone"], sampling=SHORT)
    assert session.chat(CHATS["text alone"][0]["content"], sampling=SHORT) == session.chat(CHATS["text alone"], sampling=SHORT)
    assert session._runners["image_encoder"].runs == session._runners["connector"].runs == 0
    session.caption(CAT, sampling=Sampling(max_tokens=1))
    assert session._runners["image_encoder"].runs > 0


def test_verbs_are_chats_and_stream(made, tmp_path):
    session = made.session(tmp_path)
    pieces = []
    text = session.answer(CAT, "a cat?", sampling=SHORT, on_text=pieces.append)
    assert (
        text
        == "".join(pieces)
        == session.chat([said("user", CAT, "a cat?")], sampling=SHORT)
        == made.reference.text(made.reference.reply([said("user", CAT, "a cat?")]))
    )
    assert session.caption(CAT, sampling=SHORT) == session.answer(CAT, session.config.caption_prompt, sampling=SHORT)
    drawn = [session.caption(CAT, sampling=Sampling(max_tokens=20, temperature=2.0, seed=seed)) for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]


def test_positions_are_those_of_transformers(made, tmp_path):
    """M-RoPE of Qwen3-VL; the others count."""
    import torch

    session, messages = made.session(tmp_path), CHATS["two pictures"]
    prompt = session._prompt(messages)
    found = session._eye.positions(prompt.ids, prompt.pictures)
    if session.config.kind != "qwen3_vl":
        assert found is None
        return
    inputs = made.reference.inputs(messages)
    expected, _ = made.model.model.get_rope_index(inputs["input_ids"], inputs["mm_token_type_ids"], image_grid_thw=inputs["image_grid_thw"])
    np.testing.assert_array_equal(found, expected[:, 0].numpy())
    assert isinstance(expected, torch.Tensor) and len({tuple(column) for column in found.T}) > 20


@pytest.mark.usefixtures("_no_guards")
@pytest.mark.parametrize("kind", [{"strategy": "full"}, {"layer": [-2, 1]}, {"layer": -1, "strategy": "full", "tower": "siglip_vision_model"}], ids=str)
def test_llava_in_its_other_forms(tmp_path, kind):
    made = make(tmp_path, make_llava, **kind)
    session = made.session(tmp_path)
    for name in ("a caption", "two pictures"):
        assert tokens(session, CHATS[name]) == made.reference.reply(CHATS[name])
        np.testing.assert_array_equal(session.tokens(CHATS[name]), made.reference.inputs(CHATS[name])["input_ids"][0].numpy())


@pytest.mark.usefixtures("_no_guards")
def test_without_image_splitting_a_picture_is_one_tile(tmp_path):
    made = make(tmp_path, make_smolvlm, Options(image_splitting=False))
    session = made.session(tmp_path)
    assert session.pixels(CAT)["pixel_values"].shape == (1, 3, 32, 32)
    for name in ("a caption", "two pictures"):
        np.testing.assert_array_equal(session.tokens(CHATS[name]), made.reference.inputs(CHATS[name])["input_ids"][0].numpy())
        assert tokens(session, CHATS[name]) == made.reference.reply(CHATS[name])


def test_smolvlm_s_own_processor_writes_the_same_prompt(tmp_path, monkeypatch):
    """The export's reference is Idefics3's, because SmolVLM's wants packages for films."""
    import transformers
    from transformers.models.smolvlm import processing_smolvlm

    from mmedge.families.vlm.reference import without_films

    made = make(tmp_path, make_smolvlm)
    session = made.session(tmp_path)
    monkeypatch.setattr(processing_smolvlm, "num2words", str)
    words = transformers.AutoTokenizer.from_pretrained(tmp_path)
    images = transformers.SmolVLMImageProcessorPil.from_pretrained(tmp_path)
    processor = without_films(transformers.SmolVLMProcessor)(images, words, None, image_seq_len=4, chat_template=words.chat_template)
    from PIL import Image

    content = [{"type": "image"}, {"type": "text", "text": "a cat"}, {"type": "image"}, {"type": "text", "text": "a cup?"}]
    text = transformers.ProcessorMixin.apply_chat_template(processor, [{"role": "user", "content": content}], add_generation_prompt=True)
    expected = processor(text=[text], images=[[Image.open(CAT), Image.open(COFFEE)]], add_special_tokens=False)
    assert session.tokens([said("user", CAT, "a cat", COFFEE, "a cup?")]).tolist() == expected["input_ids"][0]


def test_a_smaller_limit_of_pixels_means_fewer_tokens(tmp_path):
    made = make(tmp_path, make_qwen3_vl, Options(max_pixels=32 * 32))
    assert len(made.session(tmp_path).pixels(CAT)["pixel_values"]) <= 16


def test_what_is_no_chat_is_refused(made, tmp_path):
    session = made.session(tmp_path)
    token = session.config.image_token
    for messages, what in [
        ([said("user", f"what is {token}?")], "places for 0 pictures"),
        ([{"role": "user", "content": [{"type": "sound"}]}], "type 'sound'"),
        ([{"role": "user", "content": [{"type": "image"}]}], "type 'image'"),
        ([said("user", "word " * 600)], "the model takes 512"),
        (["hello"], "list of messages"),
        ({"role": "user", "content": "hello"}, "list of messages"),
        ([{"content": "hello"}], "each with a role"),
        ([{"role": "user", "content": [5]}], "type None"),
        ([{"role": "user", "content": 5}], "type None"),
    ]:
        with pytest.raises(MmedgeError, match=what):
            session.chat(messages)
    with pytest.raises(MmedgeError, match="cannot be read"):
        session.caption("no/such/picture.jpg")


def test_an_answer_ends_where_the_model_ends(made, tmp_path):
    session = made.session(tmp_path, fixed=True)
    session.config = session.config.model_copy(update={"positions": len(session.tokens(CHATS["text alone"])) + 3, "stop": ()})
    pieces = []
    session.chat(CHATS["text alone"], on_text=pieces.append)
    assert session._runners["language"].runs == 3
