"""``mmedge eval``: how each task asks a model, and what its answers are held against."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from evaluate.data_sets import colours, json_lines, png, tone, write
from evaluate.sessions import NAMES, Eyes, Hears, Listens, Sees, figures, paired, questions, sounds

from mmedge.errors import MmedgeError
from mmedge.evaluate.data import open_data
from mmedge.evaluate.eval import Extent, evaluate
from mmedge.evaluate.table import table
from mmedge.evaluate.tasks import Setting
from mmedge.target import Target

CPU = Target.load("cpu")


def test_retrieval_both_ways_with_captions_that_are_shared(tmp_path, bundle):
    paired(tmp_path)
    eyes = Eyes(wrong=("red",))
    found = evaluate(bundle(eyes, "embed_image", "embed_text"), CPU, open_data(tmp_path))
    made = figures(found)
    assert found.document.task == "retrieval" and eyes.texts == [f"A {name} one." for name in NAMES]
    assert (made["image_to_text_r1"], made["image_to_text_r5"], made["text_to_image_r1"]) == (0.75, 1.0, 0.5)  # red is taken for green, before green's own
    assert [one.said for one in found.document.samples][:3] == ["A green one.", "A green one.", "A green one."]
    assert all(one.low <= one.value <= one.high and one.n for one in found.document.figures)


def test_zero_shot_classes_are_those_of_all_splits_put_into_the_prompt(tmp_path, bundle):
    colours(tmp_path / "train", 1, NAMES), colours(tmp_path / "test", 2, ["red", "green"])
    eyes = Eyes(wrong=("green",))
    found = evaluate(bundle(eyes, "embed_image", "embed_text", "classify"), CPU, open_data(tmp_path, split="test"), setting=Setting("a photo of a {}"))
    made = found.document
    assert made.task == "classification" and eyes.texts == [f"a photo of a {name}" for name in sorted(NAMES)]
    assert figures(found)["accuracy"] == 0.5
    white, red = (next(one for one in made.classes if one.label == name) for name in ("white", "red"))
    assert (red.support, red.predicted, red.figures[1].value) == (2, 2, 1.0)
    assert white.support == 0 and white.figures[1].value is None and "no sample is of white" in white.figures[1].why
    assert "\nno sample is of blue, white: nothing is known of them\n" in table(made) and "no sample is of" in table(made, "accuracy")


def test_a_model_with_classes_of_its_own(tmp_path, bundle):
    model = bundle(Listens(), "features", "classify", config={"labels": ["short", "long"]}, family="audio")
    named = evaluate(model, CPU, open_data(sounds(tmp_path / "a", ["short", "long", "short"])))
    numbered = evaluate(model, CPU, open_data(sounds(tmp_path / "b", [0, 1, 0])))
    assert figures(named) == figures(numbered) and math.isclose(figures(named)["accuracy"], 2 / 3)
    with pytest.raises(MmedgeError) as caught:
        evaluate(model, CPU, open_data(sounds(tmp_path / "c", ["short", "lnog"])))
    assert caught.value.what == "the label 'lnog' of c is none of the model's classes" and "did you mean 'long'" in caught.value.fix


def test_transcripts_are_counted_over_all_words(tmp_path, bundle):
    pytest.importorskip("jiwer")
    tone(tmp_path / "1.wav", 0.1), tone(tmp_path / "2.wav", 0.2)
    json_lines(tmp_path / "metadata.jsonl", [{"file_name": "1.wav", "sentence": "A dog!"}, {"file_name": "2.wav", "sentence": "A cat sat."}, {"sentence": "?"}])
    found = evaluate(bundle(Hears(), "transcribe", family="speech"), CPU, open_data(tmp_path), setting=Setting(normalizer="none"))
    assert figures(found)["wer"] == 4 / 5 and found.document.data.lacking == 1
    assert [(one.key, one.said, one.expected) for one in found.document.samples] == [("1.wav#1", "a dog", "A dog!"), ("2.wav#2", "the cat sat", "A cat sat.")]


def test_captions_and_every_reference(tmp_path, bundle):
    pytest.importorskip("rapidfuzz")
    write(tmp_path / "1.png", png()), write(tmp_path / "2.png", png("blue"))
    json_lines(tmp_path / "d.jsonl", [{"image": "1.png", "captions": ["x y z w", "a red thing is here"]}, {"image": "2.png", "captions": ["a blue thing"]}])
    session = SimpleNamespace(caption=lambda image: "a red thing is here" if image.getpixel((0, 0))[0] else "a blue thing")
    found = evaluate(bundle(session, "caption", family="captioner"), CPU, open_data(tmp_path / "d.jsonl"))
    made = figures(found)
    assert math.isclose(made["bleu_4"], 1, abs_tol=1e-6) and math.isclose(made["rouge_l"], 1)
    assert found.document.samples[0].expected == ("x y z w", "a red thing is here")


def test_questions_and_what_is_left_without_one_input(tmp_path, bundle):
    found = evaluate(bundle(Sees(), "answer", family="vqa"), CPU, open_data(questions(tmp_path)), extent=Extent(robustness=True))
    assert figures(found) == {"vqa_accuracy": 1.0, "exact_match": 1.0}
    spoiled = {one.name: one.figures[0].value for one in found.document.robustness}
    assert set(spoiled) == {"image noisy", "image missing", "question noisy", "question missing"}
    assert (spoiled["image missing"], spoiled["question missing"]) == (0.5, 0.0)  # grey is not red: no


def test_one_class_alone_is_no_choice(tmp_path, bundle):
    with pytest.raises(MmedgeError, match="have the label 'red'"):
        evaluate(bundle(Eyes(), "embed_image", "embed_text", "classify"), CPU, open_data(colours(tmp_path, 2, ["red"])))


def test_all_references_are_empty(tmp_path, bundle):
    pytest.importorskip("jiwer")
    tone(tmp_path / "1.wav")
    data = json_lines(tmp_path / "metadata.jsonl", [{"file_name": "1.wav", "transcript": " "}]).parent
    with pytest.raises(MmedgeError, match="gives no metric of transcription: every reference is empty"):
        evaluate(bundle(Hears(), "transcribe"), CPU, open_data(data), setting=Setting(normalizer="none"))


def test_agreement_with_fp32(tmp_path, bundle):
    paired(tmp_path)
    found = evaluate(bundle(Eyes(("red",)), "embed_image", "embed_text", exact=Eyes()), CPU, open_data(tmp_path), extent=Extent(agreement=True)).document
    made = {one.name: one.value for one in found.agreement}
    assert made == {"top1_agreement": 0.75, "cosine": 0.75, "spearman": pytest.approx(0.75 + 0.25 * -1 / 3)}
