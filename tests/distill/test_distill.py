"""The verb, with encoders that are tiny."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

pytestmark = pytest.mark.full

from distill.small_recipe import captioned, small_recipe  # noqa: E402

CONTROL = 'controls = ["shuffled_captions"]'


@pytest.fixture
def asked(tmp_path, mmedge):
    """``mmedge distill`` on the small recipe."""

    def asked(*arguments, data=None, **recipe):
        path = small_recipe(tmp_path / "recipe", **recipe)
        return mmedge("distill", path, "--data", data or captioned(tmp_path / "data"), "-o", tmp_path / "made", *arguments)

    return asked


def test_a_recipe_becomes_a_checkpoint_that_is_exported_and_evaluated(asked, mmedge, tmp_path):
    from mmedge.nets.multimodal_checkpoint import load_checkpoint

    status, out, said = asked("--json", train=CONTROL)
    assert status == 0, said
    made = json.loads(out)
    assert made["schema"] == "mmedge.distillation/1"
    assert [arm["name"] for arm in made["arms"]] == ["trained", "shuffled captions"]
    assert (made["fold"], made["train"], made["test"]) == ("one", 6, 6)
    assert made == json.loads((tmp_path / "made" / "eyes.report.json").read_text())
    assert "<svg" in (tmp_path / "made" / "eyes.curves.svg").read_text()
    load_checkpoint(tmp_path / "made" / "eyes")
    status, out, said = mmedge("export", tmp_path / "made" / "eyes", "-t", "cpu", "-o", tmp_path / "eyes.bundle")
    assert status == 0, said
    status, out, said = mmedge("eval", tmp_path / "eyes.bundle", "-t", "cpu", "--data", tmp_path / "data", "--split", "one", "--json")
    assert status == 0, said
    evaluated = {one["name"]: one["value"] for one in json.loads(out)["figures"]}
    trained = {one["name"]: one["value"] for one in made["arms"][0]["figures"]}
    assert evaluated == pytest.approx(trained)


def test_a_page_that_cannot_be_written_is_said_before_any_work(asked, tmp_path):
    assert lines(asked("--html", tmp_path))[1] == f"name the page's file: --html {tmp_path / 'profile.html'}"
    assert not (tmp_path / "made").exists()


def test_what_was_done_is_not_done_again(asked, monkeypatch, tmp_path):
    first = json.loads(asked("--json", train="views = 2")[1])
    from mmedge.nets.multimodal import DualEncoder

    def never(self, modality, feeds):
        raise AssertionError("an encoder was asked again")

    monkeypatch.setattr(DualEncoder, "encode", never)
    monkeypatch.setattr("mmedge.distill.training._Loop.run", never)
    again = json.loads(asked("--json", train="views = 2")[1])
    assert again["arms"] == first["arms"]


def test_other_folds_seeds_and_ablations(asked, tmp_path):
    status, out, said = asked("--fold", "two", "--seeds", "2", "--ablate", "--json", train="views = 2")
    assert status == 0, said
    made = json.loads(out)
    assert made["fold"] == "two"
    assert [arm["name"] for arm in made["arms"]] == ["trained", "without views", "seed 1"]
    values = [next(one["value"] for one in arm["figures"] if one["name"] == made["judged"]) for arm in made["arms"] if arm["name"] != "without views"]
    assert made["seeds"]["mean"] == pytest.approx(np.mean(values))
    assert made["seeds"]["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert [one["to"] for one in made["differences"]] == ["without views"]


def lines(done):
    status, out, said = done
    what, fix = said.splitlines()[-2:]
    assert (status, out, what[:7], fix[:5]) == (2, "", "error: ", "fix: "), said
    return what[7:], fix[5:]


@pytest.mark.parametrize(
    ("columns", "arguments", "what", "fix"),
    [
        ({"text": None}, (), "has no column text: nothing pairs image with text", "its columns: image, split"),
        ({"split": None}, (), "has no splits, and 'two' was asked for", "add a column split"),
        ({"split": "onee"}, (), "has no split 'two' with samples", "its splits: onee (12)"),
        ({}, ("--fold", "three"), "the recipe has no fold three", "its folds: one, two"),
        ({}, ("--role", "ears"), "the recipe small trains no ears", "use one of: eyes"),
    ],
)
def test_data_that_do_not_fit(asked, tmp_path, columns, arguments, what, fix):
    found = lines(asked(*arguments, data=captioned(tmp_path / "data", **columns)))
    assert what in found[0]
    assert fix in found[1]


@pytest.mark.parametrize(
    ("recipe", "what"),
    [
        ({"train": 'controls = ["conse"]'}, "the control conse wants a network with ConSE"),
        ({"network": "conse = 0.5"}, "ConSE needs an image encoder with a classifier"),
        ({"train": "pseudo_pairs = 1"}, "conse and pseudo_pairs want the names of the picture encoder's classes"),
        ({"train": "learning_rate = 1e30"}, "the weight image.weight is not finite"),
        ({"train": 'objectives = [{ kind = "features" }]'}, "features needs teacher_image_embedding, which there is none of"),
        ({"train": "modality_dropout = 0.1"}, "modality_dropout is for networks of the kind fusion, and this one is of the kind dual_encoder"),
        ({"train": "learning_rat = 1"}, "unknown key models.eyes.train.learning_rat"),
        ({"splits": 'train = "one"\ntest = "one"'}, "the split one is trained on, and asked about too"),
    ],
)
def test_recipes_that_do_not_fit(asked, tmp_path, recipe, what):
    assert what in lines(asked(**recipe))[0]
    assert not (tmp_path / "made" / "eyes").exists()


def test_a_damaged_picture_is_named(asked, tmp_path):
    data = captioned(tmp_path / "data")
    (data / "3.png").write_bytes((data / "3.png").read_bytes()[:40])
    assert "3.png" in lines(asked(data=data))[0]


def test_encoders_that_are_missing(asked, tmp_path):
    small_recipe(tmp_path / "recipe")
    shutil.rmtree(tmp_path / "recipe" / "encoders" / "text")
    assert "the text encoder text/ is no folder" in lines(asked())[0]


def test_a_class_with_one_sample(asked, tmp_path):
    data = captioned(tmp_path / "data", label="common")
    rows = (data / "metadata.jsonl").read_text().splitlines()
    rows[1] = rows[1].replace('"common"', '"rare"')
    (data / "metadata.jsonl").write_text("\n".join(rows))
    assert lines(asked(data=data, train='data = ["image", "text", "label"]'))[0] == "the class 'rare' has one sample to train on"


@pytest.mark.parametrize(("free", "fix"), [(12 * 16 * 6 * 5, "views = 5 would fit"), (16 * 6 * 3, "3 pictures in one view would fit")])
def test_too_little_memory(asked, monkeypatch, free, fix):
    import psutil

    now = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: now._replace(available=free))
    what, how = lines(asked(train="views = 7"))
    assert "the features of 12 pictures in 7 views take" in what
    assert fix in how


def test_a_file_in_the_place_of_the_folder(asked, tmp_path):
    (tmp_path / "made").write_bytes(b"mine")
    assert f"cannot write {tmp_path / 'made'}: File exists" in lines(asked())[0]
    assert (tmp_path / "made").read_bytes() == b"mine"
