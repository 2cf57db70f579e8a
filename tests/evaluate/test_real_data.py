"""The shipped assistant's models, and the real package of stamps."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from evaluate.data_sets import json_lines

from mmedge.evaluate.stamps import main

GOLDEN = Path(__file__).parents[2] / "mmedge" / "golden"


@pytest.mark.full
def test_the_assistant_sees_and_hears(assistant_bundle, tmp_path, mmedge):
    for name in ("cat.jpg", "coffee.jpg", "question.wav", "remark.wav"):
        (tmp_path / name).write_bytes((GOLDEN / name).read_bytes())
    seen = [{"file_name": "cat.jpg", "text": "a tabby cat"}, {"file_name": "coffee.jpg", "text": "a cup of coffee"}]
    heard = [{"file_name": "question.wav", "transcript": "Is there a cat in the picture?"}]
    json_lines(tmp_path / "metadata.jsonl", [*seen, *heard])
    status, out, said = mmedge("eval", assistant_bundle, "-t", "cpu", "--data", tmp_path, "--role", "eyes", "--agreement", "--json")
    assert status == 0, said
    made = json.loads(out)
    assert {one["name"]: one["value"] for one in made["figures"]}["image_to_text_r1"] == 1.0
    assert made["agreement"][0]["value"] == 1.0 and made["data"]["lacking"] == 1
    status, out, said = mmedge("eval", assistant_bundle, "-t", "cpu", "--data", tmp_path, "--role", "ears", "--json")
    assert status == 0, said
    assert {one["name"]: one["value"] for one in json.loads(out)["figures"]}["wer"] == 0.0


@pytest.mark.slow
def test_the_real_stamps(tmp_path):
    assert main([str(tmp_path / "stamps")]) == 0
    table = (tmp_path / "stamps" / "metadata.csv").read_bytes()
    rows = list(csv.DictReader(table.decode().splitlines()))
    assert len(rows) == 785 and [sum(bool(row[column]) for row in rows) for column in ("text_zh", "audio_file_name", "natural_file_name")] == [713, 65, 131]
    assert Counter(row["split"] for row in rows) == {"train": 248, "fold_0": 108, "fold_1": 108, "fold_2": 107, "fold_3": 107, "fold_4": 107}
    assert (
        hashlib.sha256(table).hexdigest() == "b6312be7275d5122a67032d57754cd93bfa6aa9c92de213820fefe19c9f3843e"
    )  # the folds are the same wherever they are made
    assert all((tmp_path / "stamps" / row[column]).is_file() for row in rows for column in ("file_name", "audio_file_name", "natural_file_name") if row[column])
