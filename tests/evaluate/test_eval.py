"""``mmedge eval``: which task is taken, what the answers are held against, and what is said where nothing fits."""

from __future__ import annotations

import contextlib
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from evaluate.data_sets import COLOURS, colours, json_lines, png, tone, write

from mmedge.documents import dump_json
from mmedge.errors import MmedgeError
from mmedge.evaluate import choosing, classifying
from mmedge.evaluate.compare import differences
from mmedge.evaluate.data import open_data
from mmedge.evaluate.eval import Extent, answered, evaluate
from mmedge.evaluate.evaluation import Evaluation
from mmedge.evaluate.metrics import bootstrap
from mmedge.evaluate.tasks import Setting
from mmedge.target import Target

CPU = Target.load("cpu")
NAMES = list(COLOURS)


class Eyes:
    """Compares a picture's mean colour with words for colours; knows exactly four."""

    def __init__(self, wrong=()):
        self.wrong, self.texts = wrong, []

    def embed_image(self, image):
        mean = np.asarray(image, np.float32).mean(axis=(0, 1))
        name = min(NAMES, key=lambda one: np.abs(mean - COLOURS[one]).sum())
        return np.eye(len(NAMES), dtype=np.float32)[(NAMES.index(name) + (name in self.wrong)) % len(NAMES)]

    embed_audio = None

    def embed_text(self, text):
        self.texts.append(text)
        found = [index for index, name in enumerate(NAMES) if name in text]
        return np.eye(len(NAMES), dtype=np.float32)[found[:1]].reshape(1, -1) if found else np.zeros((1, len(NAMES)), np.float32)

    def classify(self, item, labels):
        raise AssertionError("the classes' names are embedded once")


@pytest.fixture
def bundle(monkeypatch):
    """A bundle of one model whose session is a stand-in; ``exact``: the session in fp32."""

    def made(session, *verbs, exact=None, config=None, role="eyes", family="dual_encoder"):
        model = SimpleNamespace(family=family, config=config or {}, graphs={}, graphs_for=lambda target: {})
        monkeypatch.setattr(choosing, "verbs_of", lambda one: set(verbs))
        monkeypatch.setattr(classifying, "verbs_of", lambda one: set(verbs))
        opened = lambda role, target, opens=None: contextlib.nullcontext(exact if opens else session)  # noqa: E731
        return SimpleNamespace(manifest=SimpleNamespace(name="b", models={role: model}), session=opened, path="b.bundle")

    return made


def figures(found):
    return {one.name: one.value for one in found.document.figures}


def paired(folder):
    """Eight pictures of four colours, each colour with two pictures that share a caption."""
    for name in NAMES:
        for number in (0, 1):
            write(folder / f"{name}{number}.png", png(name))
    return json_lines(folder / "metadata.jsonl", [{"file_name": f"{name}{n}.png", "text": f"A {name} one.", "label": name} for name in NAMES for n in (0, 1)])


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


class Listens:
    def classify(self, sound, top=5):
        samples, rate_hz = sound
        return [("long", 0.9), ("short", 0.1)][:top] if len(samples) > rate_hz * 0.15 else [("short", 0.6), ("long", 0.4)][:top]


def _sounds(folder, labels):
    for index, _ in enumerate(labels):
        tone(folder / f"{index}.wav", 0.1 * (index + 1))
    return json_lines(folder / "metadata.jsonl", [{"file_name": f"{index}.wav", "label": label} for index, label in enumerate(labels)]).parent


def test_a_model_with_classes_of_its_own(tmp_path, bundle):
    model = bundle(Listens(), "features", "classify", config={"labels": ["short", "long"]}, family="audio")
    named = evaluate(model, CPU, open_data(_sounds(tmp_path / "a", ["short", "long", "short"])))
    numbered = evaluate(model, CPU, open_data(_sounds(tmp_path / "b", [0, 1, 0])))
    assert figures(named) == figures(numbered) and math.isclose(figures(named)["accuracy"], 2 / 3)
    with pytest.raises(MmedgeError) as caught:
        evaluate(model, CPU, open_data(_sounds(tmp_path / "c", ["short", "lnog"])))
    assert caught.value.what == "the label 'lnog' of c is none of the model's classes" and "did you mean 'long'" in caught.value.fix


class Hears:
    def transcribe(self, sound):
        return "" if not np.any(sound[0]) else "the cat sat" if len(sound[0]) > 1200 else "a dog"


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


class Sees:
    """Answers by what it sees, and only what it is asked."""

    def answer(self, image, question):
        red, _, blue = image.getpixel((0, 0))
        return "no answer" if question != "Red?" else "yes" if red > 200 > 55 > blue else "no"


def _questions(folder, people=10):
    write(folder / "1.png", png("red", 32)), write(folder / "2.png", png("blue", 32))
    rows = [{"file_name": f"{n}.png", "question": "Red?", "answers": [{"answer": right}] * people} for n, right in ((1, "yes"), (2, "no"))]
    return json_lines(folder / "metadata.jsonl", rows).parent


def test_questions_and_what_is_left_without_one_input(tmp_path, bundle):
    found = evaluate(bundle(Sees(), "answer", family="vqa"), CPU, open_data(_questions(tmp_path)), extent=Extent(robustness=True))
    assert figures(found) == {"vqa_accuracy": 1.0, "exact_match": 1.0}
    spoiled = {one.name: one.figures[0].value for one in found.document.robustness}
    assert set(spoiled) == {"image noisy", "image missing", "question noisy", "question missing"}
    assert (spoiled["image missing"], spoiled["question missing"]) == (0.5, 0.0)  # grey is not red: no


def test_a_metric_that_the_data_cannot_give_is_named_with_its_reason(tmp_path, bundle):
    found = evaluate(bundle(Sees(), "answer", family="vqa"), CPU, open_data(_questions(tmp_path, people=1))).document
    assert found.figure("exact_match").value == 1.0
    with pytest.raises(MmedgeError, match="does not give vqa_accuracy: not computed: 2 of 2 questions have fewer than 4 answers"):
        found.figure("vqa_accuracy")
    with pytest.raises(MmedgeError) as caught:
        found.figure("exactmatch")
    assert "did you mean exact_match?" in caught.value.fix


def test_stored_evaluations_are_compared_unit_by_unit(tmp_path, bundle):
    paired_data = open_data(paired(tmp_path).parent)
    for verbs in (("embed_image", "embed_text"), ("embed_image", "embed_text", "classify")):
        options = {"task": "classification"} if "classify" in verbs else {}
        good, bad = (evaluate(bundle(eyes, *verbs), CPU, paired_data, **options) for eyes in (Eyes(), Eyes(("red",))))
        read = [Evaluation.model_validate_json(dump_json(one.document)) for one in (good, bad)]
        found = differences(*read)
        assert found == {name: bootstrap.paired(good.metrics[name], bad.metrics[name]) for name in good.metrics} and len(found) > 7
        assert all(one == bootstrap.Estimate(0, 0, 0, one.n, one.note) for one in differences(read[0], read[0]).values())
    other = evaluate(bundle(Eyes(), "embed_image", "embed_text", "classify"), CPU, open_data(tmp_path, limit=4), task="classification").document
    with pytest.raises(MmedgeError, match="of different data"):
        differences(read[0], other)


def test_a_session_alone_gives_metrics_for_a_gate(tmp_path, bundle):
    data = open_data(paired(tmp_path).parent)
    model = bundle(Eyes(), "embed_image", "embed_text")
    _, task = choosing.choose(model.manifest, data, None, None, Setting())
    found = answered(Eyes(), task, data).scored
    assert {one.name: one.estimate for one in found.metrics} == {name: one.estimate for name, one in evaluate(model, CPU, data).metrics.items()}


def test_agreement_with_fp32(tmp_path, bundle):
    paired(tmp_path)
    found = evaluate(bundle(Eyes(("red",)), "embed_image", "embed_text", exact=Eyes()), CPU, open_data(tmp_path), extent=Extent(agreement=True)).document
    made = {one.name: one.value for one in found.agreement}
    assert made == {"top1_agreement": 0.75, "cosine": 0.75, "spearman": pytest.approx(0.75 + 0.25 * -1 / 3)}


def test_unreadable_samples_are_counted_and_end_it_where_they_are_too_many(tmp_path, bundle):
    colours(tmp_path, 5, ["red", "green"])
    write(tmp_path / "red" / "3.png", b"none")
    model, lines = bundle(Eyes(), "embed_image", "embed_text", "classify"), []
    found = evaluate(model, CPU, open_data(tmp_path), extent=Extent(max_unreadable=0.1), report=lines.append).document
    assert (found.data.unreadable, found.data.unreadable_said, len(found.samples)) == (1, ("red/3.png is not a picture",), 9)
    assert lines == ["unreadable: red/3.png is not a picture"]
    with pytest.raises(MmedgeError) as caught:
        evaluate(model, CPU, open_data(tmp_path))
    assert caught.value.what.startswith("1 of the 10 samples of") and "red/3.png" in caught.value.what


def test_the_share_of_unreadable_samples_is_of_those_that_could_be_used(tmp_path, bundle):
    write(tmp_path / "1.png", png()), write(tmp_path / "2.png", b"none")
    data = json_lines(tmp_path / "metadata.jsonl", [{"file_name": "1.png", "text": "red"}, {"file_name": "2.png", "text": "x"}, *[{"text": "x"}] * 200]).parent
    with pytest.raises(MmedgeError, match="1 of the 2 samples of"):
        evaluate(bundle(Eyes(), "embed_image", "embed_text"), CPU, open_data(data))


def test_nothing_fits(tmp_path, bundle):
    data = open_data(write(tmp_path / "d.csv", "text,label\nA cat.,cat\nA dog.,dog\n"))
    model = bundle(Eyes(), "embed_image", "embed_text", "classify")
    for options, said in (
        ({}, "d.csv lacks a column that is needed: it has label, text, and can be evaluated: eyes by retrieval (image, text); eyes by classification"),
        ({"task": "vqa"}, "eyes cannot be evaluated by vqa: there is no verb for it"),
        ({"task": "retreival"}, "there is no task 'retreival'"),
        ({"role": "ears"}, "b has no model 'ears'"),
    ):
        with pytest.raises(MmedgeError) as caught:
            evaluate(model, CPU, data, **options)
        assert caught.value.what.startswith(said)


def test_all_references_are_empty(tmp_path, bundle):
    pytest.importorskip("jiwer")
    tone(tmp_path / "1.wav")
    data = json_lines(tmp_path / "metadata.jsonl", [{"file_name": "1.wav", "transcript": " "}]).parent
    with pytest.raises(MmedgeError, match="gives no metric of transcription: every reference is empty"):
        evaluate(bundle(Hears(), "transcribe"), CPU, open_data(data), setting=Setting(normalizer="none"))


def test_one_class_alone_is_no_choice(tmp_path, bundle):
    with pytest.raises(MmedgeError, match="have the label 'red'"):
        evaluate(bundle(Eyes(), "embed_image", "embed_text", "classify"), CPU, open_data(colours(tmp_path, 2, ["red"])))


def test_two_models_fit(tmp_path, bundle):
    model = bundle(Eyes(), "embed_image", "embed_text")
    model.manifest.models["more"] = model.manifest.models["eyes"]
    paired(tmp_path)
    with pytest.raises(MmedgeError) as caught:
        evaluate(model, CPU, open_data(tmp_path))
    assert caught.value.what.endswith("can be used for eyes (retrieval), more (retrieval)") and caught.value.fix == "name one of them: --role eyes"


def test_what_a_verb_refuses_is_told_with_its_sample(tmp_path, bundle):
    def answer(image, question):
        raise MmedgeError("the picture is too small", "give a larger one")

    with pytest.raises(MmedgeError, match=r"^error: 1\.png#1: the picture is too small"):
        evaluate(bundle(SimpleNamespace(answer=answer), "answer"), CPU, open_data(_questions(tmp_path)))


def test_the_command_on_the_toy(toy_bundle, tmp_path, mmedge):
    data = colours(tmp_path / "colours", 3, NAMES)
    arguments = ("eval", toy_bundle, "-t", "cpu", "--data", data)
    status, out, said = mmedge(*arguments)
    assert status == 0, said
    assert "eyes on cpu: classification on colours, 12 samples" in out and "accuracy" in out and "1.000" in out and "ort fp32" in out
    status, out, _ = mmedge(*arguments, "--json", "--limit", 6, "--agreement", "--robustness")
    made = Evaluation.model_validate_json(out)
    assert (status, len(made.samples), made.data.limit, json.loads(out)["schema"]) == (0, 6, 6, "mmedge.evaluation/1")
    assert made.agreement[0].value == 1.0 and [one.name for one in made.robustness] == ["image noisy"] and len(made.data.fingerprint) == 64
    accuracy = made.figure("accuracy")
    assert len(made.statistics[accuracy.rows]) == 6 and np.mean(made.statistics[accuracy.rows]) == accuracy.value
    status, out, _ = mmedge(*arguments, "--metric", "accuracy")
    assert status == 0 and "accuracy" in out and "f1_macro" not in out


def test_a_users_mistakes(toy_bundle, tmp_path, refused):
    data = colours(tmp_path / "colours", 1)
    arguments = ("eval", toy_bundle, "-t", "cpu", "--data", data)
    assert refused("eval", toy_bundle, "-t", "cpu", "--data", tmp_path / "none")[0] == f"there is no data at {tmp_path / 'none'}"
    assert "has no splits" in refused(*arguments, "--split", "test")[0]
    assert "has no column 'lable'" in refused(*arguments, "--column", "label=lable")[0]
    assert "--column label is no pair" in refused(*arguments, "--column", "label")[0]
    assert "no metric 'acuracy'" in refused(*arguments, "--metric", "acuracy", "--json")[0]
    assert "has no one place" in refused(*arguments, "--prompt", "a photo")[0]
    assert "no normalizer 'german'" in refused(*arguments, "--normalizer", "german")[0]
    assert "is not compiled for intel-cpu" in refused("eval", toy_bundle, "-t", "intel-cpu", "--data", data)[0]
    assert "null computes nothing" in refused("eval", toy_bundle, "-t", "null", "--data", data)[0]
    (data / "white").mkdir()
    assert "the class 'white' never appears" in refused(*arguments)[0]
    for path in data.rglob("*.png"):
        path.write_bytes(b"none")
    (data / "white").rmdir()
    what, fix = refused(*arguments)
    assert "1 of the 3 samples of colours cannot be read, and 1% may be: blue/0.png is not a picture" in what and "--max-unreadable" in fix
