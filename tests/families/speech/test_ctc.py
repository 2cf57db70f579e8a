"""wav2vec2 and HuBERT: the session over the export's own module, against transformers' processor, model and tokenizer; and broken on purpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from checks import distinct

KINDS = {"wav2vec2": "Wav2Vec2ForCTC", "wav2vec2_layer": "Wav2Vec2ForCTC", "hubert": "HubertForCTC"}

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def uneven(sounds):
    """Five sounds of five lengths."""
    return [samples[: 16_000 - 1_777 * index] for index, samples in enumerate(sounds)]


@pytest.fixture(scope="module")
def expected(folders, uneven):
    """Kind -> texts by transformers' own path."""

    def texts(kind):
        model = getattr(transformers, KINDS[kind]).from_pretrained(folders(kind)).eval()
        processor = transformers.Wav2Vec2Processor.from_pretrained(folders(kind))
        found = []
        for samples in uneven:
            with torch.no_grad():
                logits = model(**processor(samples, sampling_rate=16_000, return_tensors="pt")).logits
            found += processor.batch_decode(logits.argmax(-1))
        assert distinct(found) and all(len(set(text)) >= 4 for text in found), "a model that ignores its input proves nothing"
        return found

    return {kind: texts(kind) for kind in KINDS}


def said(session, sounds):
    return [session.transcribe((samples, 16_000)) for samples in sounds]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_equal_transformers(torch_session, expected, uneven, kind):
    session, _ = torch_session(kind)
    assert said(session, uneven) == expected[kind]
    (heard,) = session.hear((uneven[0], 16_000))
    assert heard.seconds == 1 and heard.avg_logprob < 0 and len(heard.tokens) == 49


@pytest.mark.parametrize("kind", KINDS)
def test_mutation_sound_not_normalised(torch_session, expected, uneven, kind):
    session, _ = torch_session(kind)
    recogniser = session.recogniser
    settings = recogniser._config.sound.settings.model_copy(update={"normalise": False})
    recogniser._config = recogniser._config.model_copy(update={"sound": recogniser._config.sound.model_copy(update={"settings": settings})})
    assert (said(session, uneven) != expected[kind]) is (kind != "wav2vec2"), "where the first convolution is normalised, only its bias could tell"


@pytest.mark.parametrize("kind", KINDS)
def test_mutation_sound_zeroed(torch_session, expected, uneven, kind):
    session, runners = torch_session(kind)
    run = runners["encoder"].run
    runners["encoder"].run = lambda feeds: run({"input_values": np.zeros_like(feeds["input_values"])})
    assert said(session, uneven) != expected[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_mutation_positions_permuted(torch_session, expected, uneven, kind):
    session, runners = torch_session(kind)
    model = runners["encoder"].module.model
    convolution = getattr(model, model.base_model_prefix).encoder.pos_conv_embed.conv
    before = convolution.weight.data
    convolution.weight.data = before.flip(2)
    try:
        assert said(session, uneven) != expected[kind]
    finally:
        convolution.weight.data = before


@pytest.mark.parametrize("kind", KINDS)
def test_mutation_labels_shifted_by_one(torch_session, expected, uneven, kind):
    session, _ = torch_session(kind)
    session.recogniser._labels = [*session.recogniser._labels[1:], "<pad>"]
    assert said(session, uneven) != expected[kind]


def test_a_long_sound_is_cut_where_it_is_quiet(torch_session, uneven):
    session, _ = torch_session("hubert")
    long = np.tile(uneven[0], 40)
    long[16_000 * 20 : 16_000 * 20 + 4_000] = 0
    pieces = session.hear((long, 16_000))
    assert [round(piece.seconds, 1) for piece in pieces] == [20.1, 19.9]
    assert session.transcribe((long, 16_000)) == f"{pieces[0].text} {pieces[1].text}"


@pytest.mark.parametrize("kind", ["moonshine", "wav2vec2"])
def test_silence_costs_nothing(torch_session, kind):
    session, runners = torch_session(kind)
    runners["encoder"].run = None
    (heard,) = session.hear((np.zeros(16_000, np.float32), 16_000))
    assert heard.text == "" and heard.stopped == "silence" and heard.no_speech == 1
