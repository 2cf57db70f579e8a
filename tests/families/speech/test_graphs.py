"""Every graph of the small recognisers on every runtime, and whole sessions over them, in both forms of the cache."""

from __future__ import annotations

import numpy as np
import pytest
from checks import distinct

from mmedge.evaluate.drift import drift
from mmedge.evaluate.golden import Golden
from mmedge.families.speech import Config
from mmedge.families.speech.session import Session
from mmedge.runner import Candidate, Engine, load_backend
from mmedge.target import Target

GRAPHS = [
    ("WhisperForConditionalGeneration", "encoder"),
    ("WhisperForConditionalGeneration", "decoder"),
    ("WhisperForConditionalGeneration", "decoder-scatternd"),
    ("MoonshineForConditionalGeneration", "encoder"),
    ("MoonshineForConditionalGeneration", "decoder"),
    ("MoonshineForConditionalGeneration", "decoder-scatternd"),
    ("Wav2Vec2ForCTC", "encoder"),
    ("HubertForCTC", "encoder"),
]

pytestmark = pytest.mark.full


def opened(bundle, graph, backend="ort"):
    target = Target.load("intel-cpu" if backend == "openvino" else "cpu")
    return load_backend(backend).open(Engine(Candidate(bundle.graph("speech", graph), "fp32")), target)


@pytest.mark.parametrize("backend", ["ort", "openvino", "ref"])
@pytest.mark.parametrize(("architecture", "graph"), GRAPHS)
def test_graph(small_bundle, architecture, graph, backend):
    bundle = small_bundle(architecture)
    feeds, reference = Golden(bundle, "speech").graph(graph)
    with opened(bundle, graph, backend) as runner:
        value, _ = drift(runner.run(feeds), reference, "fp32")
    assert value <= 1.0, f"{value:.3g} times the bound"


def session_over(bundle, suffix="", backend="ort"):
    model = bundle.manifest.models["speech"]
    names = ["encoder", *(["decoder"] if "decoder" in model.graphs else [])]
    runners = {name: opened(bundle, name + (suffix if name == "decoder" else ""), backend) for name in names}
    return Session(runners, {name: bundle.file(file) for name, file in model.assets.items()}, Config.model_validate(model.config)), runners


FORMS = [("ort", ""), ("ort", "-scatternd"), ("openvino", ""), ("openvino", "-scatternd")]
SESSIONS = [(name, *form) for name in ("WhisperForConditionalGeneration", "MoonshineForConditionalGeneration") for form in FORMS]


@pytest.mark.parametrize(("architecture", "backend", "suffix"), [*SESSIONS, ("WhisperForConditionalGeneration", "ort", "-tensorscatter")])
def test_the_session_says_what_the_modules_say(small_bundle, torch_session, sounds, monkeypatch, architecture, backend, suffix):
    monkeypatch.setattr("mmedge.generate.decode.loops", lambda tokens: False)
    modules, _ = torch_session(architecture.removesuffix("ForConditionalGeneration").lower())
    uneven = [samples[: 16_000 - 1_777 * index] for index, samples in enumerate(sounds)]
    expected = [modules.tokens((samples, 16_000)) for samples in uneven]
    assert distinct(expected)
    session, _ = session_over(small_bundle(architecture), suffix, backend)
    assert [session.tokens((samples, 16_000)) for samples in uneven] == expected


@pytest.mark.parametrize("architecture", ["MoonshineForConditionalGeneration", "Wav2Vec2ForCTC", "HubertForCTC"])
def test_sounds_of_a_batch_are_heard_as_alone(small_bundle, sounds, architecture):
    with opened(small_bundle(architecture), "encoder") as runner:
        together = runner.run({"input_values": np.stack(sounds[:3])})
        for index, samples in enumerate(sounds[:3]):
            value, _ = drift({name: part[index : index + 1] for name, part in together.items()}, runner.run({"input_values": samples[None]}), "fp32")
            assert value <= 1.0
