"""Fusions on the device: by the exported graphs, against the torch module on the same pictures, texts and sounds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.full  # exports

GOLDEN = Path(__file__).parents[3] / "mmedge" / "golden"
IMAGE, OTHER, AUDIO, TEXT = GOLDEN / "cat.jpg", GOLDEN / "coffee.jpg", GOLDEN / "remark.wav", "an owl in a tree"


@pytest.fixture(scope="module")
def attends(small_bundle, tmp_path_factory):
    """(the module, a session of cross-attention over three modalities)."""
    from checks import compiled, on_one_thread

    from mmedge.nets.multimodal_checkpoint import load_checkpoint

    on_one_thread()
    small = small_bundle("MmedgeFusion")
    bundle = compiled(small, tmp_path_factory.mktemp("fusion") / "fusion.bundle", "cpu")
    with bundle.session("fusion", "cpu") as session:
        yield load_checkpoint(small.path.with_name("MmedgeFusion.checkpoint")), session


@torch.no_grad()
def theirs(model, session, **given):
    """Probabilities by label."""
    feeds = {
        "image": lambda item: {"pixel_values": session.pixels(item)},
        "text": session.tokens,
        "audio": lambda item: {"input_features": session.log_mel(item)},
    }
    made = {name: {key: torch.from_numpy(array) for key, array in feeds[name](item).items()} for name, item in given.items()}
    return dict(zip(model.config.labels, model(made).logits[0].softmax(-1).tolist()))


EVERYTHING = {"image": OTHER, "text": TEXT, "audio": AUDIO}


@pytest.mark.parametrize("left", [("image", "text", "audio"), ("image", "text"), ("image", "audio"), ("text", "audio"), ("image",), ("text",), ("audio",)])
def test_classes_are_the_modules(attends, left):
    model, session = attends
    given = {name: EVERYTHING[name] for name in left}
    found, wanted = dict(session.classify(**given)), theirs(model, session, **given)
    assert found == pytest.approx(wanted, abs=1e-5) and sum(found.values()) == pytest.approx(1)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_every_modality_counts(attends):
    _, session = attends
    whole = dict(session.classify(**EVERYTHING))
    for name, item in (("image", IMAGE), ("text", "a hammer"), ("audio", GOLDEN / "question.wav")):
        for other in ({**EVERYTHING, name: item}, {**EVERYTHING, name: None}):
            assert max(abs(chance - whole[label]) for label, chance in session.classify(**other)) > 1e-3


def test_what_was_encoded_is_used_again(attends, monkeypatch):
    _, session = attends
    features = {"image": session.encode_image(OTHER), "text": session.encode_text(TEXT), "audio": session.encode_audio(AUDIO)}
    wanted = session.classify(**EVERYTHING)
    for name in features:
        monkeypatch.setattr(session._runners[f"{name}_encoder"], "run", lambda feeds: pytest.fail("it ran again"))
    assert session.classify(**features) == wanted
    assert session.classify(image=features["image"])  # what is missing does not run


def test_refusals(attends):
    from mmedge.errors import MmedgeError

    _, session = attends
    for call, said in (
        (lambda: session.classify(), "every modality is missing"),
        (lambda: session.match(IMAGE, TEXT), "does not match"),
        (lambda: session.classify(image=session.encode_text(TEXT)), "features of text were given as image"),
        (lambda: session.classify(image="nowhere.png"), "cannot be read"),
    ):
        with pytest.raises(MmedgeError, match=said):
            call()


def rows(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    return folder


def picture(path, colour):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path)


def sound(path, hz):
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(16_000)
        file.writeframes((9000 * np.sin(2 * np.pi * hz * np.arange(8000) / 16_000)).astype("<i2").tobytes())


def test_a_classifier_is_evaluated_with_what_each_sample_has(small_bundle, tmp_path, mmedge, refused):
    """export -> check -> eval by the command line: pictures everywhere but once, texts and sounds here and there."""
    from checkpoints.fusion import LABELS
    from checks import compiled

    bundle = compiled(small_bundle("MmedgeFusion"), tmp_path / "b.bundle", "cpu")
    content = []
    for number in range(12):
        picture(tmp_path / "data" / f"{number}.png", (20 * number, 255 - 20 * number, 40 * (number % 4)))
        sound(tmp_path / "data" / f"{number}.wav", 200 + 50 * number)
        row = {"image_file_name": f"{number}.png" if number else None, "label": LABELS[number % 5], "text": f"thing {number}" if number % 2 == 0 else ""}
        content.append({**row, "audio_file_name": f"{number}.wav" if number % 3 == 0 else None})
    status, out, said = mmedge("eval", bundle.path, "--data", rows(tmp_path / "data", content), "--target", "cpu", "--robustness", "--json")
    assert status == 0, said
    found = json.loads(out)
    assert found["task"] == "classification" and found["data"]["inputs"] == ["image", "text", "audio"]
    assert found["data"]["selected"] == 12 and found["data"]["lacking"] == found["data"]["unreadable"] == 0
    names = {f"{column} {how}" for column in ("image", "text", "audio") for how in ("noisy", "missing")}
    assert {one["name"] for one in found["robustness"]} == names
    with bundle.session("fusion", "cpu") as session:
        for number in (0, 1, 6):
            given = {"image": tmp_path / "data" / f"{number}.png" if number else None, "text": content[number]["text"] or None}
            given["audio"] = tmp_path / "data" / f"{number}.wav" if content[number]["audio_file_name"] else None
            assert found["samples"][number]["said"] == session.classify(**given)[0][0]
    for row in content:
        del row["text"]
    status, out, said = mmedge("eval", bundle.path, "--data", rows(tmp_path / "data", content), "--target", "cpu", "--json")
    assert status == 0 and json.loads(out)["data"]["inputs"] == ["image", "audio"], said
    nothing = [{"label": "animal", "other": 1}, {"label": "drink", "other": 2}]
    what, _ = refused("eval", bundle.path, "--data", rows(tmp_path / "none", nothing), "--target", "cpu")
    assert "classification (image, text, audio, label)" in what
    some = [{"image_file_name": None, "text": "one", "label": "animal"}, {"image_file_name": None, "text": "", "label": "drink"}]
    what, _ = refused("eval", bundle.path, "--data", rows(tmp_path / "some", some), "--target", "cpu")
    assert "1 of the 2 samples of some cannot be read" in what and "metadata.jsonl#2 has no text" in what


def test_a_matcher_is_evaluated_by_right_and_wrong_pairs(tmp_path, mmedge, refused):
    from checkpoints.fusion import make_fusion
    from checks import export_folder

    from mmedge.errors import MmedgeError

    model = make_fusion(tmp_path / "checkpoint", fusion="deep", head="match", modalities=("image", "text"))
    bundle = export_folder(tmp_path / "checkpoint", tmp_path / "b.bundle", "fusion")
    content = []
    for number in range(8):
        picture(tmp_path / "data" / "ab"[number // 4] / f"{number}.png", (30 * number, 200 - 20 * number, 90))
        content.append({"file_name": f"{'ab'[number // 4]}/{number}.png", "text": f"thing {number}"})
    status, out, said = mmedge("eval", bundle.path, "--data", rows(tmp_path / "data", content), "--target", "cpu", "--json")
    assert status == 0, said
    found = json.loads(out)
    assert found["task"] == "matching" and found["data"]["inputs"] == ["image"] and found["data"]["wants"] == "text"
    with bundle.session("fusion", "cpu") as session, torch.no_grad():
        feeds = {"image": {"pixel_values": torch.from_numpy(session.pixels(IMAGE))}}
        feeds["text"] = {name: torch.from_numpy(array) for name, array in session.tokens(TEXT).items()}
        assert session.match(IMAGE, TEXT) == pytest.approx(float(model(feeds).logits.sigmoid()), abs=1e-5)
        scores = [[session.match(tmp_path / "data" / row["file_name"], other["text"]) for other in content] for row in content]
        for call in (lambda: session.match(IMAGE, None), lambda: session.classify(image=IMAGE), lambda: session.encode_audio(AUDIO)):
            with pytest.raises(MmedgeError):
                call()
    # In a folder of four all three wrong texts are drawn: the figure is that over all right and wrong pairs.
    right = [scores[at][at] for at in range(8)]
    wrong = [scores[at][other] for at in range(8) for other in range(8) if other != at and other // 4 == at // 4]
    figures = {one["name"]: one["value"] for one in found["figures"]}
    assert figures["auc_folder"] == pytest.approx(np.mean([[a > b for b in wrong] for a in right]))
    assert 0 <= figures["auc_random"] <= 1
    for row in content:
        row["text"] = "thing"
    what, _ = refused("eval", bundle.path, "--data", rows(tmp_path / "data", content), "--target", "cpu")
    assert "gives no metric of matching: not computed: all texts are the same" in what
