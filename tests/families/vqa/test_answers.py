"""Whole sessions, over the exported graphs, against transformers' own processors, generate and forward."""

import numpy as np
import pytest
import torch
from checkpoints.vqa import CHECKPOINTS, LABELS
from checks import distinct, graph_drift
from pictures import five
from small_sessions import FORMS, only, opened, shifted, zeros

from mmedge.errors import MmedgeError
from mmedge.generate.decode import Sampling

pytestmark = pytest.mark.full
TWENTY = Sampling(max_tokens=20)
QUESTIONS = ["Is there a cat?", "what colour is the cup on the table?", "how many dogs", "is it left or right? it is right", "no"]
BLIP, VILT = "BlipForQuestionAnswering", "ViltForQuestionAnswering"
ATOL = 1e-4


@pytest.fixture(scope="module")
def of(small_bundle, theirs):
    """Architecture -> (its bundle, transformers' model)."""

    def load(architecture):
        bundle = small_bundle(architecture)
        return bundle, theirs(bundle.path.with_name(f"{architecture}.checkpoint"))

    return load


def answers(bundle, **how):
    with opened(bundle, **how) as session:
        return [session.answer(picture, question, sampling=TWENTY) for picture, question in zip(five(), QUESTIONS)]


def chances(bundle, **how):
    """[pairs, labels], in the order of the labels."""
    with opened(bundle, **how) as session:
        found = [dict(session.scores(picture, question, top=len(LABELS))) for picture, question in zip(five(), QUESTIONS)]
    return np.array([[one[label] for label in LABELS] for one in found])


@pytest.fixture(scope="module")
def written(of):
    return [of(BLIP)[1].answer(picture, question) for picture, question in zip(five(), QUESTIONS)]


@pytest.fixture(scope="module")
def chosen(of):
    logits = np.array([of(VILT)[1].logits(picture, question) for picture, question in zip(five(), QUESTIONS)], np.float64)
    return 1 / (1 + np.exp(-logits))


def test_the_references_look_and_listen(of, written, chosen):
    """Five pairs, one picture with five questions and five pictures with one question: all answers differ."""
    blip, vilt = of(BLIP)[1], of(VILT)[1]
    assert distinct(written)
    assert distinct([blip.answer(five()[0], question) for question in QUESTIONS])
    assert distinct([blip.answer(picture, QUESTIONS[0]) for picture in five()])
    same_picture = [vilt.logits(five()[0], question) for question in QUESTIONS]
    same_question = [vilt.logits(picture, QUESTIONS[0]) for picture in five()]
    for rows in (chosen, np.array(same_picture), np.array(same_question)):
        apart = np.abs(rows[:, None] - rows[None]).max(-1)
        assert apart[~np.eye(5, dtype=bool)].min() > 100 * ATOL
    assert len({int(row.argmax()) for row in chosen}) >= 3


@pytest.mark.parametrize("form", FORMS)
def test_written_answers_equal_transformers(of, written, form):
    assert answers(of(BLIP)[0], form=form) == written


@pytest.mark.parametrize("form", FORMS[:2])
def test_written_answers_equal_transformers_on_openvino(of, written, form):
    assert answers(of(BLIP)[0], form=form, backend="openvino") == written


@pytest.mark.parametrize("backend", ["ort", "openvino", "ref"])
def test_chosen_answers_equal_transformers(of, chosen, backend):
    bundle, reference = of(VILT)
    np.testing.assert_allclose(chances(bundle, backend=backend), chosen, atol=ATOL)
    if backend == "ort":
        assert answers(bundle) == [reference.answer(picture, question) for picture, question in zip(five(), QUESTIONS)]


@pytest.mark.parametrize("backend", ["ort", "openvino", "ref"])
@pytest.mark.parametrize("architecture", sorted(CHECKPOINTS))
def test_graphs_equal_their_modules(of, architecture, backend):
    bundle = of(architecture)[0]
    for name in bundle.manifest.models["vqa"].graphs:
        if name.endswith("tensorscatter") and backend != "ort":
            continue  # opset 24 has no other reader here
        assert graph_drift(bundle, "vqa", name, backend) <= 1.0


def test_one_picture_and_a_batch_of_questions(of):
    """Unequal batches, filled up: each question's rows are what it gives alone."""
    with opened(of(BLIP)[0]) as session:
        image = session._runners["image_encoder"].run(session.pixels(five()[0]))
        together = session._runners["question_encoder"].run({**session.tokens(QUESTIONS), **image})
        for index, question in enumerate(QUESTIONS):
            tokens = session.tokens(question)
            for name, alone in session._runners["question_encoder"].run({**tokens, **image}).items():
                np.testing.assert_allclose(together[name][index : index + 1, :, : tokens["input_ids"].shape[1]], alone, atol=ATOL)


def test_a_batch_of_unequal_pictures_and_questions(of, chosen):
    """ViLT's graph over all pairs at once, filled up as transformers fills them, and against transformers' own batch."""
    bundle, reference = of(VILT)
    with opened(bundle) as session:
        feeds = {**session.tokens(QUESTIONS), **session._image(five())}
        logits = session._runners["classifier"].run(feeds)["logits"]
    assert feeds["pixel_mask"].min() == 0 and feeds["attention_mask"].min() == 0
    np.testing.assert_allclose(1 / (1 + np.exp(-logits.astype(np.float64))), chosen, atol=ATOL)
    with torch.no_grad():
        np.testing.assert_allclose(reference.model(**{name: torch.from_numpy(value) for name, value in feeds.items()}).logits.numpy(), logits, atol=10 * ATOL)


def test_writing_and_choosing(of):
    pieces = []
    with opened(of(BLIP)[0]) as session:
        said = session.answer(five()[0], QUESTIONS[0], sampling=TWENTY, on_text=pieces.append)
        assert said == "".join(pieces) and len(pieces) > 3
        assert len(session.answer_tokens(five()[0], QUESTIONS[0])) <= session.config.writer.context == 40
        with pytest.raises(MmedgeError, match="writes its answers"):
            session.scores(five()[0], QUESTIONS[0])
    pieces.clear()
    with opened(of(VILT)[0]) as session:
        best = session.scores(five()[0], QUESTIONS[0], top=2)
        assert session.answer(five()[0], QUESTIONS[0], on_text=pieces.append) == best[0][0] == pieces[0] and best[0][1] > best[1][1]
        assert session.scores(five()[0], "is it a cat " * 40), "a long question is cut to the model's positions"
        with pytest.raises(MmedgeError, match="chooses its answers"):
            session.answer_tokens(five()[0], QUESTIONS[0])


@pytest.mark.parametrize("graph", ["image_encoder", "question_encoder"])
def test_mutation_features_zeroed(of, written, graph):
    assert answers(of(BLIP)[0], wrap=only(graph, out=zeros)) != written


@pytest.mark.parametrize("form", FORMS[:2])
def test_mutation_cache_shifted_by_one(of, written, form):
    assert answers(of(BLIP)[0], form=form, wrap=only("decoder", into=shifted)) != written


def test_mutation_words_permuted(of, written):
    backwards = lambda name, array: array[:, ::-1].copy() if name == "input_ids" else array  # noqa: E731
    assert answers(of(BLIP)[0], wrap=only("question_encoder", into=backwards)) != written


@pytest.mark.parametrize(
    "change",
    [
        lambda name, array: np.zeros_like(array) if name == "pixel_values" else array,
        lambda name, array: array[:, ::-1].copy() if name == "input_ids" else array,
        lambda name, array: array[:, :, ::-1].copy() if name == "pixel_values" else array,
        lambda name, array: array * (np.arange(array.shape[1])[None, :, None] < 16) if name == "pixel_mask" else array,
    ],
    ids=["picture zeroed", "words permuted", "patches permuted", "mask ignored"],
)
def test_mutations_of_the_chooser(of, chosen, change):
    assert np.abs(chances(of(VILT)[0], wrap=only("classifier", into=change)) - chosen).max() > 100 * ATOL
