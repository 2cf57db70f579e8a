from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import audio
from checks import compiled, graph_drift, on_one_thread

from mmedge.build.golden import media
from mmedge.errors import MmedgeError
from mmedge.families.audio import Options, lacks
from mmedge.families.audio.export import export
from mmedge.families.audio.session import Session
from mmedge.processors.audio import sound_at

GOLDEN = Path(__file__).parents[3] / "mmedge" / "golden"
SOUNDS = [GOLDEN / "question.wav", GOLDEN / "remark.wav"]
ATOL = 1e-4
pytestmark = pytest.mark.full


@dataclass
class Made:
    name: str
    model: Any
    folder: Path
    bundle: Any
    session: Any

    def theirs(self, sound: Any) -> np.ndarray:
        """Logits [6] by transformers' own feature extractor and ``forward``, attention mask included where the extractor gives one."""
        import torch
        import transformers

        extractor = transformers.AutoFeatureExtractor.from_pretrained(self.folder)
        with torch.inference_mode():
            return self.model(**extractor(sound_at(sound, 16_000), sampling_rate=16_000, return_tensors="pt")).logits[0].numpy()

    def ours(self, sound: Any, change=lambda values: values) -> np.ndarray:
        return self.session._classifier.run({"input_values": change(self.session.features(sound))})["logits"][0]


@pytest.fixture(scope="module", params=audio.CHECKPOINTS)
def made(request, tmp_path_factory, small_bundle):
    on_one_thread()
    folder = tmp_path_factory.mktemp("sounds") / "checkpoint"
    model = audio.CHECKPOINTS[request.param](folder)
    bundle = compiled(small_bundle(request.param), folder.parent / "sounds.bundle", "cpu")
    with bundle.session("audio", "cpu") as session:
        yield Made(request.param, model, folder, bundle, session)


def noises():
    """Five of different lengths, rates and colours."""
    rng = np.random.default_rng(3)
    return [(np.convolve(rng.standard_normal(6_000 + 3_000 * n), np.hanning(2 + 6 * n), "same").astype(np.float32) / 9, 8_000 + 4_000 * n) for n in range(5)]


def test_logits_are_those_of_transformers(made):
    for sound in (*SOUNDS, *noises()):
        np.testing.assert_allclose(made.ours(sound), made.theirs(sound), atol=ATOL * 10)


def flipped(values):
    return np.ascontiguousarray(values[:, ::-1])


def silent(values):
    return np.zeros_like(values)


def moved(values):
    return np.roll(values, values.shape[1] // 3, axis=1)


@pytest.mark.parametrize("change", [silent, flipped, moved])
def test_parity_would_notice(made, change):
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(made.ours(SOUNDS[0], change), made.theirs(SOUNDS[0]), atol=ATOL * 10)


@pytest.mark.parametrize("backend", ["ort", "openvino", "ref"])
def test_the_graph_agrees_on_every_backend(made, backend):
    assert graph_drift(made.bundle, "audio", "classifier", backend) <= 1


def test_a_batch_is_the_same_as_one_by_one(made):
    sounds = [made.session.features((sound_at(path, 16_000)[:20_000], 16_000)) for path in SOUNDS]
    together = made.session._classifier.run({"input_values": np.concatenate([*sounds, sounds[0]])})["logits"]
    for row, values in zip(together, [*sounds, sounds[0]]):
        np.testing.assert_allclose(row, made.session._classifier.run({"input_values": values})["logits"][0], atol=ATOL)


def test_five_inputs_give_five_outputs(made):
    rows = np.stack([made.ours(sound) for sound in noises()])
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    assert distances[~np.eye(5, dtype=bool)].min() > 0.01


def test_classify_is_transformers_pipeline(made):
    import transformers

    pipeline = transformers.pipeline("audio-classification", model=made.model, feature_extractor=transformers.AutoFeatureExtractor.from_pretrained(made.folder))
    for path in SOUNDS:
        theirs = pipeline({"raw": sound_at(path, 16_000), "sampling_rate": 16_000}, top_k=4)
        ours = made.session.classify(path, top=4)
        assert [label for label, _ in ours] == [one["label"] for one in theirs]
        np.testing.assert_allclose([chance for _, chance in ours], [one["score"] for one in theirs], atol=ATOL)
    everything = [chance for _, chance in made.session.classify(SOUNDS[0], top=100)]
    assert len(everything) == 6 and (abs(sum(everything) - 1) < 1e-5) == (made.session.config.activation == "softmax")


def test_a_sound_that_is_too_short_is_followed_by_silence(made):
    short = (np.full(100, 0.1, np.float32), 16_000)
    assert np.isfinite(made.ours(short)).all()
    with pytest.raises(MmedgeError, match="no samples"):
        made.session.classify((np.zeros(0, np.float32), 16_000))


def torch_session(folder):
    import torch

    exported = export(folder, Options(), media())
    graph = exported.graphs["classifier"]

    class Untraced:
        def run(self, feeds):
            with torch.no_grad():
                return {"logits": graph.module(torch.from_numpy(feeds["input_values"])).numpy()}

    return Session({"classifier": Untraced()}, {}, exported.config)


@pytest.mark.parametrize("name", audio.CHECKPOINTS)
def test_without_its_feature_extractor_the_graph_comes_out(name, tmp_path):
    audio.CHECKPOINTS[name](tmp_path, complete=False)
    session = torch_session(tmp_path)
    assert lacks(session.config) == {"feature extractor": ("classify",)}
    with pytest.raises(MmedgeError, match="had no feature extractor") as caught:
        session.classify(SOUNDS[0])
    assert "preprocessor_config.json" in caught.value.fix


@pytest.mark.parametrize(
    ("kind", "activation"), [("regression", "none"), ("multi_label_classification", "sigmoid"), ("single_label_classification", "softmax")]
)
def test_what_the_logits_mean(kind, activation, tmp_path):
    audio.make_wav2vec2(tmp_path, problem_type=kind)
    session = torch_session(tmp_path)
    assert session.config.activation == activation
    logits = session._classifier.run({"input_values": session.features(SOUNDS[0])})["logits"][0].astype(np.float64)
    wanted = {"none": logits, "sigmoid": 1 / (1 + np.exp(-logits)), "softmax": np.exp(logits) / np.exp(logits).sum()}[activation]
    np.testing.assert_allclose([chance for _, chance in session.classify(SOUNDS[0], 6)], np.sort(wanted)[::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "file", "change", "what"),
    [
        (audio.make_ast, "preprocessor_config.json", {"max_length": 1024}, "gives 1024 frames of 32 bands; the model takes 128, 32"),
        (audio.make_ast, "preprocessor_config.json", {"mean": "much"}, "cannot be read"),
        (audio.make_wav2vec2, "preprocessor_config.json", {"sampling_rate": "fast"}, "cannot be read"),
        (audio.make_wav2vec2, "preprocessor_config.json", None, "cannot be read as JSON"),
        (audio.make_wav2vec2, "config.json", {"architectures": ["Wav2Vec2ForCTC"]}, "is no classifier of sounds"),
        (audio.make_wav2vec2, "config.json", {"classifier_proj_size": 17}, "projector.bias"),
    ],
)
def test_what_does_not_fit_together(make, file, change, what, tmp_path):
    make(tmp_path)
    path = tmp_path / file
    path.write_text("{" if change is None else json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(MmedgeError) as caught:
        export(tmp_path, Options(), media())
    assert what in caught.value.what
