"""Checkpoints that lack files, or hold files that do not belong to them."""

import json

import numpy as np
import pytest
from checkpoints.vlm import CHECKPOINTS, make_llava, make_qwen3_vl, make_smolvlm
from checks import export_folder
from vlm_made import CAT, CHATS, MEDIA, make

from mmedge.errors import MmedgeError
from mmedge.families.vlm import Options, assets, graphs, lacks
from mmedge.families.vlm.export import export
from mmedge.generate.decode import Sampling

pytestmark = pytest.mark.full

SHORT = Sampling(max_tokens=5)
VERBS = ("caption", "answer", "chat")


@pytest.mark.parametrize("architecture", list(CHECKPOINTS))
def test_without_words_and_pictures_the_graphs_come_all_the_same(tmp_path, architecture):
    made = make(tmp_path, CHECKPOINTS[architecture], complete=False)
    config = made.exported.config
    assert set(made.exported.graphs) == set(graphs(config)) and not made.exported.cases and not made.exported.assets and not assets(config)
    assert lacks(config) == {"tokenizer": VERBS, "chat template": VERBS, "image processor": VERBS[:2]}
    session = made.session(tmp_path)
    for verb in (lambda: session.caption(CAT), lambda: session.chat(CHATS["text alone"]), lambda: session.tokens(CHATS["text alone"])):
        with pytest.raises(MmedgeError, match="had no tokenizer"):
            verb()
    with pytest.raises(MmedgeError, match="had no image processor"):
        session.pixels(CAT)


def test_its_bundle_is_made_and_proven(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    make_smolvlm(tmp_path / "checkpoint", complete=False)
    bundle = export_folder(tmp_path / "checkpoint", tmp_path / "small.bundle", "vlm")
    assert {gate.name for gate in bundle.manifest.gates["check cpu"]} == {
        f"graph vlm/{name}" for name in ("image_encoder", "connector", "token_embedding", "language")
    }


def test_without_a_processor_there_is_still_talk(tmp_path):
    made = make(tmp_path, make_smolvlm)
    whole = made.session(tmp_path).chat(CHATS["text alone"], sampling=SHORT)
    (tmp_path / "preprocessor_config.json").unlink()
    made.exported = export(tmp_path, Options(), MEDIA)
    session = made.session(tmp_path)
    assert [case.call for case in made.exported.cases] == ["tokens", "chat"]
    assert lacks(made.exported.config) == {"image processor": VERBS[:2]}
    assert session.chat(CHATS["text alone"], sampling=SHORT) == whole
    for verb in (lambda: session.caption(CAT), lambda: session.answer(CAT, "?"), lambda: session.chat(CHATS["a question"])):
        with pytest.raises(MmedgeError, match="had no image processor") as error:
            verb()
    assert "preprocessor_config.json" in error.value.fix and "export again" in error.value.fix


def test_without_a_template_there_is_no_chat(tmp_path):
    made = make(tmp_path, make_llava)
    (tmp_path / "chat_template.jinja").unlink()
    made.exported = export(tmp_path, Options(), MEDIA)
    assert lacks(made.exported.config) == {"chat template": VERBS}
    session = made.session(tmp_path)
    assert session.pixels(CAT)["pixel_values"].shape == (1, 3, 32, 32)
    with pytest.raises(MmedgeError, match="had no chat template"):
        session.caption(CAT)


def test_a_template_for_text_alone_takes_strings_and_no_pictures(tmp_path):
    made = make(tmp_path, make_llava)
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}\n{% endfor %}")
    made.exported = export(tmp_path, Options(), MEDIA)
    session = made.session(tmp_path)
    assert made.exported.cases[0].call == "tokens" and len(session.tokens([{"role": "user", "content": [{"type": "text", "text": "a cat"}]}]))


def test_settings_in_the_file_of_the_whole_processor(tmp_path):
    made = make(tmp_path, make_smolvlm)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": settings, "image_seq_len": 4}))
    assert export(tmp_path, Options(), MEDIA).config == made.exported.config


def test_files_of_another_model_are_refused(tmp_path):
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    for name, maker, file, nested, what in [
        ("tiles", make_smolvlm, "preprocessor_config.json", {"max_image_size": {"longest_edge": 30}}, "tiles of 30 pixels"),
        ("picture", make_llava, "preprocessor_config.json", {"crop_size": {"height": 48, "width": 48}}, "vision tower takes 32 x 32"),
        ("patches", make_qwen3_vl, "preprocessor_config.json", {"patch_size": 16}, "not the model's"),
        ("token", make_llava, "tokenizer_config.json", {"image_token": "<s>"}, "image token is"),
        ("number", make_llava, "config.json", {"image_token_index": 5}, "image token is"),
        ("rope", make_llava, "config.json", {"text_config": {"rope_parameters": rope}}, "turns positions by dynamic"),
    ]:
        folder = tmp_path / name
        folder.mkdir()
        maker(folder)
        content = json.loads((folder / file).read_text())
        for key, value in nested.items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
        (folder / file).write_text(json.dumps(content))
        with pytest.raises(MmedgeError, match=what):
            export(folder, Options(), MEDIA)


def test_a_llava_with_a_tower_of_another_kind_is_refused(tmp_path):
    make_llava(tmp_path, tower="pixtral")
    with pytest.raises(MmedgeError, match="vision tower of type pixtral"):
        export(tmp_path, Options(), MEDIA)


def test_words_that_are_never_said(tmp_path):
    make_smolvlm(tmp_path)
    settings = json.loads((tmp_path / "generation_config.json").read_text())
    (tmp_path / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [3, 4], "bad_words_ids": [[7], [8, 9]], "suppress_tokens": [11]}))
    config = export(tmp_path, Options(), MEDIA).config
    assert config.stop == (3, 4) and config.suppress == (7, 11)


def test_another_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    with pytest.raises(MmedgeError, match="is no image-text model that answers"):
        export(tmp_path, Options(), MEDIA)


def test_golden_data_is_small(tmp_path):
    """A prompt with real pictures would store a cache of hundreds of megabytes."""
    make_smolvlm(tmp_path)
    inputs = export(tmp_path, Options(), MEDIA).graphs["language"].inputs
    assert inputs["past_key_0"].shape[2] == 13 and np.prod(inputs["inputs_embeds"].shape) == 2 * 48
