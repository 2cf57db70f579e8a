"""A checkpoint without tokenizer or preprocessor gives its graphs, and says what text needs; what is wrong in it is named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from transformers import MoonshineConfig, MoonshineForConditionalGeneration

from mmedge.build import golden
from mmedge.errors import MmedgeError
from mmedge.families.speech import Options, assets, graphs, lacks
from mmedge.families.speech.export import export
from mmedge.families.speech.session import Session

SOUND = (np.full(16_000, 0.1, np.float32), 16_000)

pytestmark = pytest.mark.full


@pytest.fixture
def copy(folders, tmp_path):
    return lambda kind: shutil.copytree(folders(kind), tmp_path / kind)


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def session_of(exported, written):
    return Session(dict.fromkeys(exported.graphs), written(exported), exported.config)


@pytest.mark.parametrize("kind", ["whisper", "moonshine", "wav2vec2", "hubert"])
def test_bare_weights_give_their_graphs(folders, written, kind):
    exported = export(folders(kind, complete=False), Options(), golden.media())
    assert tuple(exported.graphs) == graphs(exported.config)
    assert tuple(exported.assets) == assets(exported.config) == ()
    assert {case.call for case in exported.cases} == ({"features", "tokens"} if kind == "whisper" else {"tokens"})
    with pytest.raises(MmedgeError, match=r"no text without a (tokenizer|preprocessor)") as caught:
        session_of(exported, written).transcribe(SOUND)
    assert "export it again" in caught.value.fix


@pytest.mark.parametrize(
    ("kind", "missing", "says"),
    [
        ("whisper", ["tokenizer.json", "tokenizer_config.json"], "tokenizer"),
        ("moonshine", ["tokenizer.json", "tokenizer_config.json"], "tokenizer"),
        ("moonshine", ["preprocessor_config.json"], "preprocessor"),
        ("wav2vec2", ["vocab.json"], "tokenizer for CTC"),
        ("wav2vec2", ["processor_config.json"], "preprocessor"),
    ],
)
def test_what_is_missing_is_named(copy, written, kind, missing, says):
    folder = copy(kind)
    for name in missing:
        (folder / name).unlink()
    exported = export(folder, Options(), golden.media())
    assert tuple(exported.assets) == assets(exported.config)
    part = says.partition(" ")[0]
    assert lacks(exported.config) == {part: ("words", "transcribe") if part == "tokenizer" else ("transcribe",)}
    with pytest.raises(MmedgeError, match=f"no text without a {says}"):
        session_of(exported, written).transcribe(SOUND)


def test_a_tokenizer_of_another_kind_is_none(copy, written):
    folder = copy("wav2vec2")
    edit(folder / "tokenizer_config.json", tokenizer_class="Wav2Vec2PhonemeCTCTokenizer")
    with pytest.raises(MmedgeError, match="without a tokenizer for CTC"):
        session_of(export(folder, Options(), golden.media()), written).transcribe(SOUND)


@pytest.mark.parametrize(
    ("kind", "damage", "says"),
    [
        ("whisper", lambda folder: edit(folder / "config.json", d_model="wide"), "d_model"),
        ("whisper", lambda folder: edit(folder / "config.json", architectures=["CLIPModel"]), "is no model that transcribes"),
        ("whisper", lambda folder: edit(folder / "config.json", architectures="Whisper"), "is no model that transcribes"),
        ("moonshine", lambda folder: edit(folder / "config.json", hidden_size=[36]), "hidden_size"),
        ("moonshine", lambda folder: edit(folder / "config.json", encoder_num_key_value_heads=1), "another shape"),
        ("moonshine", lambda folder: edit(folder / "generation_config.json", eos_token_id=5_000), "ends them with 5000"),
        ("moonshine", lambda folder: (folder / "tokenizer.json").write_text("{}"), "is no tokenizer"),
        ("wav2vec2", lambda folder: edit(folder / "config.json", conv_kernel=3), "conv|kernel"),
        ("wav2vec2", lambda folder: (folder / "vocab.json").write_text("[1]"), "vocab.json"),
        ("wav2vec2", lambda folder: (folder / "vocab.json").write_text('{"A": "B"}'), "vocab.json"),
        ("wav2vec2", lambda folder: (folder / "processor_config.json").write_text("nothing"), "processor_config.json"),
        ("hubert", lambda folder: edit(folder / "config.json", vocab_size=7), "lm_head"),
    ],
)
def test_what_is_damaged_is_named(copy, kind, damage, says):
    folder = copy(kind)
    damage(folder)
    with pytest.raises(MmedgeError, match=says) as caught:
        export(folder, Options(), golden.media())
    assert caught.value.fix


@pytest.mark.parametrize(("kind", "option"), [("moonshine", {"language": "de"}), ("wav2vec2", {"windows_s": (10,)}), ("whisper", {"tokens_per_s": 9.0})])
def test_options_of_another_kind_are_refused(folders, kind, option):
    with pytest.raises(MmedgeError, match=f"option {next(iter(option))} does not concern"):
        export(folders(kind), Options(**option), golden.media())


def test_a_moonshine_that_transformers_cannot_run(tmp_path):
    config = MoonshineConfig(hidden_size=32, intermediate_size=32, vocab_size=9, encoder_num_key_value_heads=4, pad_token_id=2)
    MoonshineForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(MmedgeError, match="heads of different numbers"):
        export(tmp_path, Options(), golden.media())


def test_labels_that_are_none(laid_out, tmp_path):
    exported, _ = laid_out("wav2vec2")
    for content in ("nothing", "{}", "[1]"):
        (tmp_path / "labels.json").write_text(content)
        with pytest.raises(MmedgeError, match="holds no labels"):
            Session({"encoder": None}, {"labels.json": tmp_path / "labels.json"}, exported.config)
