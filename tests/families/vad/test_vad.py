"""Silero VAD against silero's own other forms of the model, on spoken sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmedge import hub, need
from mmedge.errors import MmedgeError
from mmedge.families.vad import CHUNK, CONTEXT, Config, Options
from mmedge.families.vad.session import Session, Stream
from mmedge.processors.audio import load_sound

WHEEL = "pip:silero-vad==6.2.3#silero_vad/data/"
VAD = ("silero_vad_openvino_16k.onnx", "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87")
SEQUENCE = ("silero_vad_16k_sequence.onnx", "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85")
GOLDEN = Path(__file__).parents[3] / "mmedge" / "golden"


class Recorder:
    """Answers with its call's number, so that a state that is not handed on shows."""

    inputs = outputs = ()
    reuses_outputs = True

    def __init__(self) -> None:
        self.feeds: list[dict[str, np.ndarray]] = []
        self._state = np.zeros((2, 1, 128), np.float32)

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.feeds.append({name: value.copy() for name, value in feeds.items()})
        self._state += 1  # the same buffer every time, as a runner may do
        return {"output": np.full((1, 1), 0.25, np.float32), "stateN": self._state}


def test_each_call_sees_the_end_of_the_chunk_before_and_the_state_it_left() -> None:
    runner = Recorder()
    stream = Stream(runner)
    chunks = np.arange(3 * CHUNK, dtype=np.float32).reshape(3, CHUNK)
    assert [stream(chunk) for chunk in chunks] == [0.25] * 3
    assert [feeds["input"].shape for feeds in runner.feeds] == [(1, CONTEXT + CHUNK)] * 3
    assert not runner.feeds[0]["input"][0, :CONTEXT].any()
    np.testing.assert_array_equal(runner.feeds[2]["input"][0], np.arange(2 * CHUNK - CONTEXT, 3 * CHUNK))
    assert [feeds["state"].max() for feeds in runner.feeds] == [0, 1, 2]


def test_streams_have_their_own_state() -> None:
    session = Session({"vad": Recorder()}, {}, Config())
    first, second = session.stream(), session.stream()
    first(np.ones(CHUNK, np.float32))
    assert second._state.max() == 0 and second._window.max() == 0
    first.reset()
    assert first._state.max() == 0 and first._window.max() == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("silero")
    for name, sha256 in (VAD, SEQUENCE):
        (folder / name).symlink_to(hub.fetch(WHEEL + name, sha256=sha256))
    return folder


@pytest.fixture(scope="module")
def session(folder: Path) -> Session:
    from mmedge.backends import ort

    return Session({"vad": ort.OrtRunner(folder / VAD[0], ort.Options())}, {}, Config())


@pytest.mark.full
@pytest.mark.parametrize("name", ["question", "remark"])
def test_streaming_agrees_with_silero_s_sequence_model(name: str, folder: Path, session: Session) -> None:
    """The sequence form takes all chunks, with their contexts, in one run: no state of ours is involved."""
    samples, rate_hz = load_sound(GOLDEN / f"{name}.wav")
    samples = np.concatenate([samples, np.zeros(-len(samples) % CHUNK + 8 * CHUNK, np.float32)])
    frames = samples.reshape(-1, CHUNK)
    before = np.concatenate([np.zeros((1, CONTEXT), np.float32), frames[:-1, -CONTEXT:]])
    ort = need.need("onnxruntime", extra="build")
    sequence = ort.InferenceSession(str(folder / SEQUENCE[0]), providers=["CPUExecutionProvider"])
    zero = np.zeros((1, 1, 128), np.float32)
    expected = sequence.run(["speech_probs"], {"input": np.concatenate([before, frames], 1), "h": zero, "c": zero})[0]
    got = session.probabilities((samples, rate_hz))
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert got.max() > 0.95 and got[-4:].max() < 0.1


@pytest.mark.full
def test_other_rates_are_resampled(session: Session) -> None:
    samples, rate_hz = load_sound(GOLDEN / "question.wav")
    from scipy.signal import resample_poly

    plain, faster = session.probabilities((samples, rate_hz)), session.probabilities((resample_poly(samples, 3, 1).astype(np.float32), 48_000))
    assert len(plain) == len(faster) and np.abs(plain - faster).mean() < 0.02


@pytest.mark.full
def test_export_records_what_the_reference_evaluator_says(folder: Path, session: Session) -> None:
    from mmedge.families.vad.export import export

    exported = export(folder, Options(), {"question": GOLDEN / "question.wav"})
    feeds = exported.graphs["vad"].feeds
    assert {name: value.shape for name, value in feeds.items()} == {"input": (1, 576), "state": (2, 1, 128)} and np.abs(feeds["state"]).max() > 0.1
    np.testing.assert_allclose(session.probabilities(GOLDEN / "question.wav"), exported.cases[0].expected, atol=exported.cases[0].atol)


@pytest.mark.full
def test_export_refuses_what_is_not_that_model(folder: Path, tmp_path: Path) -> None:
    from mmedge.families.vad.export import export

    with pytest.raises(MmedgeError, match="holds no silero_vad"):
        export(tmp_path, Options(), {})
    (tmp_path / VAD[0]).write_bytes(b"\0not a model")
    with pytest.raises(MmedgeError, match="is not an ONNX model"):
        export(tmp_path, Options(), {})
    (tmp_path / VAD[0]).write_bytes((folder / SEQUENCE[0]).read_bytes())
    with pytest.raises(MmedgeError, match="another variant: its inputs are input, h, c"):
        export(tmp_path, Options(), {})
