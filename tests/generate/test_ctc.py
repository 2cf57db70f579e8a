"""Greedy CTC decoding against transformers' Wav2Vec2CTCTokenizer."""

from __future__ import annotations

import json

import numpy as np
import pytest
from transformers import Wav2Vec2CTCTokenizer

from mmedge.families.speech.ctc.export import _settings as settings_of
from mmedge.families.speech.ctc.export import read_labels
from mmedge.generate.ctc import CtcSettings, ctc_text

LABELS = ["<pad>", "<s>", "</s>", "<unk>", "|", "'", ".", "A", "B", "S", "n't", "?"]
PLAIN = CtcSettings(blank="<pad>", delimiter="|")


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([7, 7, 0, 7, 8, 0, 0, 8, 8], "AABB"),  # repeats are one letter, a blank between them makes two
        ([4, 7, 4, 4, 8, 4], "A B"),
        ([7, 4, 0, 4, 8], "A  B"),
        ([0, 0, 0], ""),
        ([], ""),
        ([1, 7, 3, 2], "<s>A<unk></s>"),
    ],
)
def test_by_hand(ids, text):
    assert ctc_text(ids, LABELS, PLAIN) == text


@pytest.mark.parametrize(
    "options",
    [{}, {"do_lower_case": True}, {"word_delimiter_token": " "}, {"clean_up_tokenization_spaces": True}, {"replace_word_delimiter_char": "_"}],
    ids=lambda options: next(iter(options), "plain"),
)
def test_equal_to_transformers(tmp_path, options):
    labels = [" " if label == "|" and "word_delimiter_token" in options else label for label in LABELS]
    (tmp_path / "vocab.json").write_text(json.dumps({label: index for index, label in enumerate(labels)}))
    Wav2Vec2CTCTokenizer(tmp_path / "vocab.json", **options).save_pretrained(tmp_path)
    theirs = read_labels(tmp_path)
    settings, size = settings_of(theirs), len(LABELS) + 2  # the model may know more labels than the tokenizer
    ours = theirs.convert_ids_to_tokens(list(range(size)))
    rng = np.random.default_rng(0)
    texts = set()
    for _ in range(200):
        ids = rng.choice(size, 60, p=np.array([9, 1, 1, 1, 6, 2, 2, 4, 4, 4, 2, 2, 1, 1]) / 40).tolist()
        texts.add(theirs.decode(ids))
        assert ctc_text(ids, ours, settings) == theirs.decode(ids)
    assert len(texts) == 200
