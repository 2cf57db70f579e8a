import json

import numpy as np
import pytest

from mmedge.errors import MmedgeError
from mmedge.families.speech import Config
from mmedge.families.speech.session import Session
from mmedge.processors.wav import write_wav
from mmedge.runner import Copied
from mmedge.tensors import TensorSpec

STOP, NO_SPEECH = 0, 5
HALF_S = np.full(8_000, 0.1, np.float32)


class Encoder:
    """Says by its outputs' length which window it was given."""

    def __init__(self):
        self.windows_s, self.inputs, self.outputs, self.reuses_outputs = [], (), (), False

    def run(self, feeds):
        frames = feeds["input_features"].shape[2]
        self.windows_s.append(frames // 100)
        return {f"cross_{part}_{index}": np.zeros((1, 2, frames // 2, 16), np.float32) for index in range(2) for part in ("key", "value")}


class Decoder:
    """Says the words scripted for a window; its buffers are overwritten by each run, as a runtime's may be."""

    reuses_outputs = True
    inputs = (
        TensorSpec("input_ids", "int64", (1, "tokens")),
        *(
            TensorSpec(f"{kind}_{part}_{index}", "float32", (1, 2, length, 16))
            for kind, length in (("past", "past"), ("cross", "heard"))
            for index in range(2)
            for part in ("key", "value")
        ),
    )
    outputs = ()

    def carry(self, pairs, start):
        return Copied(self, pairs, start)

    def __init__(self, says, sure=10.0, nobody=-10.0):
        self.says, self.sure, self.nobody, self.past_lengths = says, sure, nobody, []
        self._buffer = np.zeros((1, 2, 40, 16), np.float32)

    def run(self, feeds):
        window_s = feeds["cross_key_0"].shape[2] // 50
        past, ids = feeds["past_key_0"], feeds["input_ids"]
        assert (past == 1).all() or past.size == 0, "the cache must be what the last run gave"
        self.past_lengths.append(past.shape[2])
        at = 0 if past.shape[2] == 0 else past.shape[2] - 3  # the prompt has four tokens
        words = [*self.says[window_s], STOP]
        logits = np.zeros((1, ids.shape[1], 127), np.float32)
        logits[0, -1, words[min(at, len(words) - 1)]] = self.sure
        if not past.size:
            logits[0, 0, NO_SPEECH] = self.nobody
        length = past.shape[2] + ids.shape[1]
        self._buffer[:] = 7
        view = self._buffer[:, :, :length]
        view[:] = 1
        return {"logits": logits, **{f"present_{part}_{index}": view for index in range(2) for part in ("key", "value")}}


@pytest.fixture
def make(checkpoint, folder):
    def make(says, **kind):
        config = checkpoint.config.model_copy(update={"windows_s": tuple(says), "prompt": (1, 2, 4, 6), "suppress": (), "suppress_first": ()})
        runners = {"encoder": Encoder(), "decoder": Decoder(says, **kind)}
        return Session(runners, {"tokenizer.json": folder / "tokenizer.json"}, Config(config)), runners

    return make


def test_the_smallest_window_that_holds_the_sound_and_a_margin(make):
    session, runners = make({2: [7, 8], 5: [9]})
    assert session.transcribe((HALF_S, 16_000)) == "word0 word1"
    session.transcribe((np.tile(HALF_S, 3), 16_000))  # 1.5 s + 1 s do not fit into 2 s
    assert runners["encoder"].windows_s == [2, 5]


def test_any_rate_and_any_file(make, tmp_path):
    session, _ = make({2: [7, 8]})
    write_wav(tmp_path / "a.wav", np.tile(HALF_S, 2), 44_100)
    assert session.transcribe(tmp_path / "a.wav") == "word0 word1"
    assert session.hear(tmp_path / "a.wav")[0].seconds == pytest.approx(16_000 / 44_100, abs=1e-3)


@pytest.mark.parametrize("bad", [[7] * 30, [7, 8] * 15, list(range(7, 40))])
def test_a_loop_or_too_many_words_make_it_listen_through_a_larger_window(make, bad):
    session, runners = make({2: bad, 5: [9]})
    (heard,) = session.hear((HALF_S, 16_000))
    assert heard.text == "word2" and heard.tries == 2 and heard.window_s == 5
    assert runners["encoder"].windows_s == [2, 5]


def test_what_stays_unbelievable_is_not_said(make):
    session, _ = make({2: [7] * 30, 5: [8] * 30})
    (heard,) = session.hear((HALF_S, 16_000))
    assert heard.text == "" and heard.stopped == "loop" and heard.tries == 2
    assert session.transcribe((HALF_S, 16_000)) == ""


def test_a_sentence_said_twice_is_believed_when_the_largest_window_says_so_too(make):
    session, runners = make({2: [7, 8, 9, 10] * 2, 5: [7, 8, 9, 10]})
    assert session.transcribe((HALF_S, 16_000)) == "word0 word1 word2 word3" and runners["encoder"].windows_s == [2, 5]
    session, _ = make({2: [7, 8, 9, 10] * 2, 5: [7, 8, 9, 10] * 2})
    assert session.transcribe((HALF_S, 16_000)).split() == ["word0", "word1", "word2", "word3"] * 2


def test_where_nobody_speaks_nothing_is_said_and_nothing_is_tried_again(make):
    for sure, nobody in [(20.0, 20.0), (3.0, 5.5)]:  # surely nobody, whatever was decoded; or probably nobody, and an unlikely text
        session, runners = make({2: [7], 5: [7]}, sure=sure, nobody=nobody)
        (heard,) = session.hear((HALF_S, 16_000))
        assert heard.text == "" and heard.no_speech > 0.6 and runners["encoder"].windows_s == [2]
    session, _ = make({2: [7]}, sure=20.0, nobody=5.5)
    assert session.hear((HALF_S, 16_000))[0].no_speech > 0.6 and session.transcribe((HALF_S, 16_000)) == "word0"


def test_a_text_beyond_belief_is_tried_again_and_not_said(make):
    session, runners = make({2: [7], 5: [7]}, sure=2.0)
    (heard,) = session.hear((HALF_S, 16_000))
    assert heard.text == "" and heard.stopped == "stop" and heard.avg_logprob < -2 and runners["encoder"].windows_s == [2, 5]


def test_silence_and_nothing_cost_nothing(make):
    session, runners = make({2: [7]})
    for samples in (np.zeros(16_000, np.float32), np.zeros(0, np.float32)):
        assert session.transcribe((samples, 16_000)) == ""
    assert runners["encoder"].windows_s == []


def test_a_long_sound_is_cut_where_it_is_quiet(make):
    session, _ = make({2: [7], 5: [8]})
    long = np.full(16_000 * 9, 0.1, np.float32)
    long[16_000 * 3 : 16_000 * 3 + 4_000] = 0
    first, second, third = session.hear((long, 16_000))
    assert first.seconds == pytest.approx(3.125, abs=0.03)
    assert first.seconds + second.seconds + third.seconds == pytest.approx(9)
    assert max(first.seconds, second.seconds, third.seconds) <= 4
    assert len(session.transcribe((long, 16_000)).split()) == 3


def test_the_past_grows_by_what_was_fed(make):
    session, runners = make({2: [7, 8, 9]})
    session.transcribe((HALF_S, 16_000))
    assert runners["decoder"].past_lengths == [0, 4, 5, 6]


def test_a_broken_tokenizer_is_named(checkpoint, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"not": "one"}))
    with pytest.raises(MmedgeError, match=r"tokenizer\.json is no tokenizer"):
        Session({"encoder": Encoder(), "decoder": Decoder({2: []})}, {"tokenizer.json": tmp_path / "tokenizer.json"}, Config(checkpoint.config))


def test_what_is_no_sound_is_refused(make, tmp_path):
    session, _ = make({2: [7]})
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(MmedgeError, match="sound"):
        session.transcribe(tmp_path / "a.wav")
