"""What a gate goes by: each task's own metric, and where the data have no right answers, agreement with fp32."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from evaluate.data_sets import COLOURS, png, write

from mmedge.errors import MmedgeError
from mmedge.evaluate import choosing
from mmedge.evaluate.answering import Caption, Transcription, Vqa
from mmedge.evaluate.data import open_data
from mmedge.evaluate.retrieving import Retrieval
from mmedge.evaluate.tasks import Answer, Setting

NAMES = list(COLOURS)


@pytest.fixture
def pictures(tmp_path):
    """Without anything else."""
    for name in NAMES:
        write(tmp_path / "pictures" / f"{name}.png", png(name))
    return open_data(tmp_path / "pictures")


@pytest.mark.parametrize(
    ("kind", "said", "right", "judged"),
    [
        (Vqa, ["yes", "no"], [["yes"], ["no"]], "vqa_accuracy"),
        (Caption, ["a cat", "a dog"], [["a cat"], ["a dog"]], "cider_d"),
        (Transcription, ["a", "b"], ["a", "b"], "wer"),
    ],
)
def test_tasks_with_words_name_their_metrics_beforehand(pictures, kind, said, right, judged):
    pytest.importorskip("jiwer"), pytest.importorskip("rapidfuzz")
    answers = [Answer(text) for text in said]
    task, alone = (kind(None, pictures, ("image",), wants, Setting(normalizer="none")) for wants in ("answers", ""))
    assert {one.name for one in task.score(None, answers, right).metrics} == set(task.metrics)
    assert (task.judged, alone.judged) == (judged, "top1_agreement")
    scored = alone.score(None, answers, [None, None])
    assert (scored.metrics, scored.said) == ([], said)


def test_retrieval_names_its_metrics_and_gives_what_it_made_of_each_text(pictures):
    task = Retrieval(None, pictures, ("image",), "text", Setting())
    session = SimpleNamespace(embed_text=lambda text: np.eye(len(NAMES))[NAMES.index(text)])
    found = task.score(session, [Answer(vector=row) for row in np.eye(len(NAMES))[:3]], [[name] for name in NAMES[:3]])
    assert {one.name for one in found.metrics} == set(task.metrics)
    assert task.judged == "image_to_text_r5" and np.array_equal(found.beside, np.eye(len(NAMES))[:3])
    assert Retrieval(None, pictures, ("audio",), "text", Setting()).judged == "audio_to_text_r5"


@pytest.mark.parametrize(
    ("verbs", "task", "judged"), [(("embed_image", "embed_text", "classify"), "embedding", "cosine"), (("caption",), "caption", "top1_agreement")]
)
def test_without_right_answers_a_model_can_at_least_be_asked(pictures, monkeypatch, verbs, task, judged):
    monkeypatch.setattr(choosing, "verbs_of", lambda model: set(verbs))
    manifest = SimpleNamespace(name="b", models={"eyes": SimpleNamespace(family="dual_encoder", config={})})
    with pytest.raises(MmedgeError, match="lacks a column that is needed"):
        choosing.choose(manifest, pictures, None, None, Setting())
    _, found = choosing.choose(manifest, pictures, None, None, Setting(), without_answers=True)
    assert (found.name, found.judged, found.wants) == (task, judged, "") and found.judged in found.agreement


def test_a_question_is_no_right_answer(pictures, monkeypatch):
    monkeypatch.setattr(choosing, "verbs_of", lambda model: {"answer"})
    manifest = SimpleNamespace(name="b", models={"eyes": SimpleNamespace(family="vqa", config={})})
    with pytest.raises(MmedgeError, match="lacks a column that is needed"):
        choosing.choose(manifest, pictures, None, None, Setting(), without_answers=True)
