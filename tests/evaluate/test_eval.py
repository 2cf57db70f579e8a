"""``mmedge eval``: which task is taken, what is stored and compared, and what is said where nothing fits."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from evaluate.data_sets import colours, json_lines, png, write
from evaluate.sessions import NAMES, Eyes, Sees, paired, questions

from mmedge.documents import dump_json
from mmedge.errors import MmedgeError
from mmedge.evaluate import choosing
from mmedge.evaluate.compare import differences
from mmedge.evaluate.data import open_data
from mmedge.evaluate.eval import Extent, answered, evaluate
from mmedge.evaluate.evaluation import Evaluation
from mmedge.evaluate.metrics import bootstrap
from mmedge.evaluate.tasks import Setting
from mmedge.target import Target

CPU = Target.load("cpu")


def test_a_metric_that_the_data_cannot_give_is_named_with_its_reason(tmp_path, bundle):
    found = evaluate(bundle(Sees(), "answer", family="vqa"), CPU, open_data(questions(tmp_path, people=1))).document
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
        evaluate(bundle(SimpleNamespace(answer=answer), "answer"), CPU, open_data(questions(tmp_path)))


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
