"""Fusions: what is trained is what is exported and evaluated; what is missing is missing; each error a user can cause."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytestmark = pytest.mark.full

from checkpoints import spread  # noqa: E402
from distill.small_recipe import captioned, small_recipe  # noqa: E402
from evaluate.data_sets import json_lines, write  # noqa: E402

RECIPE = """
schema = "mmedge.recipe/1"
name = "small"
[models.kind]
family = "fusion"
folder = "encoders"
[models.kind.train]
steps = 6
batch = 8
{train}
[models.kind.train.network]
kind = "fusion"
width = 8
heads = 2
layers = 1
{network}
[models.kind.train.splits]
train = ""
folds = ["one", "two"]
"""
CLASSIFY = 'data = ["label"]\ncolumns = {{ label = "shade" }}\nobjectives = [{{ kind = "{}" }}]\n'
JOINT = CLASSIFY.format("joint")
THREE = 'image = "image/"\ntext = "text/"\naudio = "audio/"\naudio_s = 0.2\n'
MATCH = 'head = "match"\nimage = "image/"\ntext = "text/"\nnegatives = 2\n'
MATCHING = 'objectives = [{ kind = "matching" }, { kind = "contrastive" }]\n'


@pytest.fixture
def asked(tmp_path, mmedge):
    def asked(*arguments, train=JOINT, network=THREE, data=None):
        small_recipe(tmp_path / "recipe")
        listener(tmp_path / "recipe" / "encoders" / "audio")
        path = write(tmp_path / "recipe" / "fusion.toml", RECIPE.format(train=train, network=network))
        return mmedge("distill", path, "--data", data or sensed(tmp_path / "data"), "-o", tmp_path / "made", *arguments)

    return asked


def listener(folder):
    """A Whisper of a few hundred weights."""
    import transformers

    if folder.exists():
        return
    sizes = {"d_model": 8, "num_mel_bins": 80, "vocab_size": 20, "max_source_positions": 50, "max_target_positions": 9}
    sizes |= {f"{side}_{what}": size for side in ("encoder", "decoder") for what, size in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))}
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    config = transformers.WhisperConfig(**sizes, **special, suppress_tokens=[], begin_suppress_tokens=[])
    spread(transformers.WhisperForConditionalGeneration(config)).save_pretrained(folder)


def sensed(folder, lack=True):
    """Captioned colours, light or dark, in two folders; every other one with a tone, and one without a caption."""
    captioned(folder, 16)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["shade"] = ("dark", "light")[number // 2 % 2]
        row["side"] = ("left", "right")[number // 4 % 2]
        if number % 4 < 2:
            row["audio_file_name"] = f"{number}.wav"
            tone(folder / f"{number}.wav", 300 + 100 * number)
        if lack and number == 5:
            del row["text"]
    json_lines(folder / "metadata.jsonl", rows)
    return folder


def tone(path, hz):
    import wave

    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((9000 * np.sin(2 * np.pi * hz * np.arange(2000) / 16_000)).astype("<i2").tobytes())


def figures(arm):
    return {one["name"]: one for one in arm["figures"]}


def test_a_classifier_becomes_a_checkpoint_that_is_exported_and_evaluated(asked, mmedge, tmp_path):
    controls = 'controls = ["majority_class", "nearest_caption", "shuffled_captions"]\nmodality_dropout = 0.3\n'
    status, out, said = asked("--json", train=JOINT + controls, network=f'{THREE}fusion = "cross_attention"')
    assert status == 0, said
    assert "to train on: 4 of 8 samples lack audio" in said or "to train on: 1 of 8 samples lack text, 4 of 8 samples lack audio" in said
    made = json.loads(out)
    assert [arm["name"] for arm in made["arms"]] == ["trained", "majority class", "nearest caption", "shuffled captions"]
    trained = figures(made["arms"][0])
    assert {*trained} == {f"{name}{lack}" for name in ("accuracy", "f1_macro") for lack in ("", "_without_image", "_without_text", "_without_audio")}
    assert "samples lack audio" in trained["accuracy"]["how"]
    assert figures(made["arms"][1])["accuracy"]["value"] == pytest.approx(0.5)
    status, out, said = mmedge("export", tmp_path / "made" / "kind", "-t", "cpu", "-o", tmp_path / "kind.bundle")
    assert status == 0, said
    status, out, said = mmedge(
        "eval", tmp_path / "kind.bundle", "-t", "cpu", "--data", tmp_path / "data", "--column", "label=shade", "--split", "one", "--json"
    )
    assert status == 0, said
    evaluated = {one["name"]: one["value"] for one in json.loads(out)["figures"]}
    assert {name: evaluated[name] for name in ("accuracy", "f1_macro")} == {name: pytest.approx(trained[name]["value"]) for name in ("accuracy", "f1_macro")}


def test_a_matcher_is_judged_as_eval_judges_it(asked, mmedge, tmp_path):
    data = sensed(tmp_path / "data", lack=False)
    status, out, said = asked("--json", train=f'{MATCHING}controls = ["nearest_caption", "shuffled_captions"]', network=f'{MATCH}group = "side"', data=data)
    assert status == 0, said
    arms = json.loads(out)["arms"]
    assert [arm["name"] for arm in arms] == ["trained", "nearest caption", "shuffled captions"]
    assert mmedge("export", tmp_path / "made" / "kind", "-t", "cpu", "-o", tmp_path / "kind.bundle")[0] == 0
    status, out, said = mmedge("eval", tmp_path / "kind.bundle", "-t", "cpu", "--data", data, "--split", "one", "--json")
    assert status == 0, said
    evaluated = {one["name"]: one["value"] for one in json.loads(out)["figures"]}
    assert evaluated["auc_random"] == pytest.approx(figures(arms[0])["auc_random"]["value"], abs=1e-6)


def test_ablations_are_the_other_fusions_and_what_is_left_out(asked):
    status, out, said = asked("--ablate", "--json")
    assert status == 0, said
    names = [arm["name"] for arm in json.loads(out)["arms"]]
    kinds = ["fusion weighted_sum", "fusion deep", "fusion cross_attention"]
    assert names == ["trained", *kinds, *(f"without {one}" for one in ("image", "text", "audio")), *(f"{one} alone" for one in ("image", "text", "audio"))]


def test_modality_dropout_leaves_something_and_follows_the_seed(tmp_path):
    from types import SimpleNamespace

    from mmedge.distill.fused import Fused

    one = Fused.__new__(Fused)
    one._names, one._training = ("image", "text"), SimpleNamespace(modality_dropout=0.5, seed=3)
    one._there = np.array([[True, True], [True, False]] * 200)
    shown = one._shown(np.arange(400), 7)
    assert shown.any(1).all() and not (shown & ~one._there).any() and shown[1::2, 0].all()
    # of both: each left out by 1/2, and where both would be, one of them stays
    assert shown[::2].mean() == pytest.approx(0.5 + 0.25 / 2, abs=0.06)
    assert (one._shown(np.arange(400), 7) == shown).all() and (one._shown(np.arange(400), 8) != shown).any()


@pytest.mark.parametrize(
    ("recipe", "what"),
    [
        ({"network": ""}, "the recipe names no encoder"),
        ({"network": THREE.replace("0.2", "2.0")}, "audio_s = 2 is more than the 1 s that audio/ hears"),
        ({"network": 'text = "text/"\nfusion = "cross_attention"'}, "cross_attention needs two modalities"),
        ({"network": MATCH, "train": CLASSIFY.format("matching")}, "the head match needs the column image of every sample"),
        ({"network": THREE, "train": MATCHING}, "the head classify needs the column label of every sample"),
        ({"network": f'{MATCH}group = "shelf"', "train": MATCHING}, "data has no column shelf to make groups by"),
        ({"network": MATCH, "train": f'{MATCHING}controls = ["majority_class"]'}, "a fusion with the head match has no control majority_class"),
        ({"network": 'image = "image/"', "train": JOINT + 'controls = ["nearest_caption"]'}, "the control nearest_caption wants captions"),
        ({"train": JOINT + "views = 2"}, "it has no views"),
        ({"train": CLASSIFY.format("contrastive")}, "contrastive needs image_embedding, which there is none of"),
        ({"train": JOINT.replace("shade", "shadow")}, "data has no column 'shadow'"),
        ({"train": JOINT + 'teacher = "eyes"'}, "teacher is for networks of the kind dual_encoder, and this one is of the kind fusion"),
    ],
)
def test_recipes_that_do_not_fit(asked, tmp_path, recipe, what):
    assert what in lines(asked(**recipe))
    assert not (tmp_path / "made" / "kind").exists()


def test_data_with_one_class_or_text_or_without_a_modality(asked, tmp_path):
    assert "every sample is of the class 'light'" in lines(asked(data=captioned(tmp_path / "data", 16, shade="light")))
    rows = [json.loads(line) for line in (sensed(tmp_path / "data") / "metadata.jsonl").read_text().splitlines()]
    json_lines(tmp_path / "data" / "metadata.jsonl", [{name: value for name, value in row.items() if name != "audio_file_name"} for row in rows])
    assert "no sample of data has audio" in lines(asked(data=tmp_path / "data"))
    json_lines(tmp_path / "data" / "metadata.jsonl", [{"file_name": f"{n}.png", "text": "x", "split": ("one", "two")[n % 2]} for n in range(8)])
    assert "have the same text" in lines(asked(data=tmp_path / "data", train=MATCHING, network=MATCH))


def test_states_that_do_not_fit_into_memory(monkeypatch):
    import psutil

    from mmedge.distill.memory import hold_states
    from mmedge.errors import MmedgeError

    now = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: now._replace(available=49 * 1280 * 6 * 3))
    hold_states(3, 49, 1280)
    with pytest.raises(MmedgeError, match="of 4 samples, 49 states each") as refused:
        hold_states(4, 49, 1280)
    assert "3 samples would fit" in refused.value.fix


def lines(done):
    status, out, said = done
    what, fix = said.splitlines()[-2:]
    assert (status, out, what[:7], fix[:5]) == (2, "", "error: ", "fix: "), said
    return what
