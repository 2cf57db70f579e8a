"""A Whisper that learns to hear a shorter window, on one that is tiny."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytestmark = pytest.mark.full

from evaluate.data_sets import json_lines, write  # noqa: E402

from mmedge.processors.wav import write_wav  # noqa: E402

RECIPE = """
schema = "mmedge.recipe/1"
name = "small"
[models.ears]
family = "speech"
folder = "whisper"
[models.ears.train]
data = ["audio", "transcript"]
steps = 4
batch = 4
learning_rate = {rate}
controls = ["teacher", "unadapted"]
objectives = [{{ kind = "{objective}" }}]
{train}
[models.ears.train.network]
kind = "speech"
window_s = {window_s}
{network}
[models.ears.train.splits]
test = "test"
[models.ears.train.guard]
split = "people"
points = {points}
"""
PLAIN = {"rate": "0.05", "objective": "sequence", "train": "", "network": "", "window_s": 2, "points": 1e6}


@pytest.fixture
def whisper(tmp_path, monkeypatch):
    """Of 4 s."""
    from checkpoints import speech
    from tokenizers import Tokenizer, pre_tokenizers

    monkeypatch.setattr(speech, "WINDOW_S", 4)
    folder = tmp_path / "recipe" / "whisper"
    folder.mkdir(parents=True)
    speech.make_whisper(folder)
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(folder / "tokenizer.json"))
    return folder


def spoken(folder, said="word5 word9", people="word7", seconds=0.8):
    """Tones, with what is said in them."""
    rows = []
    for number, split in enumerate(["train"] * 6 + ["test"] * 2 + ["people"] * 2):
        (folder / split).mkdir(parents=True, exist_ok=True)
        tone = np.sin(np.arange(int(seconds * 16_000)) * 0.02 * (number + 1)).astype(np.float32)
        write_wav(folder / split / f"{number}.wav", 0.5 * tone, 16_000)
        rows.append({"audio_file_name": f"{split}/{number}.wav", "transcript": people if split == "people" else said, "split": split})
    json_lines(folder / "metadata.jsonl", rows)
    return folder


@pytest.fixture
def asked(tmp_path, mmedge, whisper):
    def asked(*arguments, data=None, **recipe):
        path = write(tmp_path / "recipe" / "small.toml", RECIPE.format(**{**PLAIN, **recipe}))
        return mmedge("distill", path, "--data", data or spoken(tmp_path / "data"), "-o", tmp_path / "made", *arguments)

    return asked


def test_it_becomes_an_ordinary_checkpoint_that_is_exported(asked, mmedge, tmp_path, whisper, monkeypatch):
    import transformers

    from mmedge.distill.short_window import Ears, read_ears
    from mmedge.families.speech.whisper.cases import reference_tokens
    from mmedge.training import SpeechNetwork

    status, out, said = asked("--json", train='views = 3\naugment = ["noise", "gain", "speed"]')
    assert status == 0, said
    made = json.loads(out)
    assert [arm["name"] for arm in made["arms"]] == ["trained", "teacher", "unadapted"]
    figures = {one["name"] for one in made["arms"][0]["figures"]}
    assert {"wer", "loop_rate", "people_wer", "people_loop_rate"} <= figures
    assert {(one["to"], one["metric"]) for one in made["differences"]} >= {("teacher", "wer"), ("teacher", "people_wer"), ("unadapted", "people_wer")}
    assert made["arms"][0]["curve"]["loss"][-1]["loss"] < made["arms"][0]["curve"]["loss"][0]["loss"]

    found = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path / "made" / "ears")
    began = transformers.WhisperForConditionalGeneration.from_pretrained(whisper)
    assert found.config.max_source_positions == 100
    assert transformers.WhisperFeatureExtractor.from_pretrained(tmp_path / "made" / "ears").chunk_length == 2
    changed = {name for name, value in found.named_parameters() if value.shape != (old := began.get_parameter(name)).shape or not value.equal(old)}
    assert {name.rsplit(".", 2)[-2] for name in changed} == {"embed_positions", "q_proj", "v_proj"}

    ears = read_ears(tmp_path / "made" / "ears", SpeechNetwork(kind="speech"))
    assert ears.window_s == 2
    sound = np.sin(np.arange(12_800) * 0.05).astype(np.float32)
    heard = list(ears.write(sound).tokens)
    assert heard == reference_tokens(ears.checkpoint, sound, len(heard))
    assert len(heard) > 4

    status, out, said = mmedge("export", tmp_path / "made" / "ears", "-t", "cpu", "-o", tmp_path / "ears.bundle")
    assert status == 0, said

    def never(self, *given):
        raise AssertionError("a network was asked again")

    write = Ears.write
    monkeypatch.setattr(Ears, "write", lambda self, samples: never(self) if self.window_s == 4 else write(self, samples))
    monkeypatch.setattr("mmedge.distill.training._Loop.run", never)
    assert asked("--json", train='views = 3\naugment = ["noise", "gain", "speed"]')[0] == 0


def test_what_costs_people_is_refused_and_nothing_is_replaced(asked, tmp_path, whisper):
    from mmedge.distill.short_window import read_ears
    from mmedge.processors.audio import load_sound
    from mmedge.training import SpeechNetwork

    data, made = spoken(tmp_path / "data"), tmp_path / "made"
    teacher = read_ears(whisper, SpeechNetwork(kind="speech"))
    heard = [teacher.words(teacher.write(load_sound(data / "people" / f"{number}.wav")[0])) for number in (8, 9)]
    assert heard[0]
    spoken(data, people=heard[0])
    status, _, said = asked("--json", data=data, points=1e6, network='labels = "teacher"')
    assert status == 0, said
    before = (made / "ears" / "model.safetensors").read_bytes()
    status, _, said = asked("--json", data=data, points=0.5, rate="0.3")
    assert status == 3, said
    what, fix = said.splitlines()[-2:]
    assert what.startswith("error: people_wer is ")
    assert "points are lost, 0.5 may be" in what
    assert "what was there before is kept" in fix
    assert (made / "ears" / "model.safetensors").read_bytes() == before
    assert json.loads((made / "ears.refused.json").read_text())["judged"] == "wer"


@pytest.mark.parametrize(
    ("recipe", "what"),
    [
        ({"window_s": 5}, "a window of 5 s was asked for, and the model hears 4 s"),
        ({"network": 'language = "fr"'}, "the model knows no language 'fr'"),
        ({"network": '[models.ears.train.network.lora]\nlayers = ["query"]'}, "the network has no linear layer query"),
        ({"train": "views = 2"}, "flip is no view of a sound"),
        ({"objective": "contrastive"}, "speech has no objective contrastive"),
        ({"network": "layers = 3"}, "unknown key models.ears.train.network.speech.layers"),
    ],
)
def test_recipes_that_do_not_fit(asked, tmp_path, recipe, what):
    status, out, said = asked(**recipe)
    assert (status, out) == (2, "")
    assert what in said.splitlines()[-2]
    assert said.splitlines()[-1].startswith("fix: ")
    assert not (tmp_path / "made" / "ears").exists()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ({"seconds": 1.5}, "every sound to train on is longer than 1 s"),
        ({"said": "word1 " * 60}, "tokens, and"),
        ({"said": ""}, "has 0 tokens, and"),
    ],
)
def test_data_that_do_not_fit(asked, tmp_path, data, what):
    status, out, said = asked(data=spoken(tmp_path / "data", **data))
    assert (status, out) == (2, ""), said
    assert what in said


def test_a_guard_is_not_trained_on(asked, tmp_path):
    folder = spoken(tmp_path / "data")
    rows = (folder / "metadata.jsonl").read_text()
    (folder / "metadata.jsonl").write_text(rows.replace('"people"', '"peoples"'))
    status, _, said = asked(data=folder)
    assert status == 2
    assert "has no split 'people' with samples" in said.splitlines()[-2]
    assert "did you mean peoples?" in said.splitlines()[-1]
