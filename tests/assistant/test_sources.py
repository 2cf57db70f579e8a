from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from PIL import Image

from mmedge.assistant.clock import RealClock, ReplayClock
from mmedge.assistant.microphone import BACKLOG_S, Backlog
from mmedge.assistant.pictures import Pictures
from mmedge.assistant.recent import RecentFrames
from mmedge.assistant.sound_file import SoundFile
from mmedge.assistant.sources import Frame, open_camera, open_microphone
from mmedge.assistant.video import Video
from mmedge.errors import MmedgeError
from mmedge.processors.wav import write_wav

NEVER = threading.Event()


def save(path, value, size=(32, 24)):
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


def test_a_replay_jumps_over_waits_and_a_real_clock_keeps_them():
    replay, real = ReplayClock(), RealClock()
    began_s, from_s = time.monotonic(), replay.now_s()
    replay.wait_until(from_s + 3600, NEVER)
    assert 3600 <= replay.now_s() - from_s < 3601 and time.monotonic() - began_s < 1
    replay.wait_until(from_s, NEVER)
    assert replay.now_s() - from_s >= 3600, "it never goes back"
    from_s = real.now_s()
    real.wait_until(from_s + 0.03, NEVER)
    assert real.now_s() - from_s >= 0.03
    stopped = threading.Event()
    stopped.set()
    real.wait_until(real.now_s() + 3600, stopped)


@pytest.mark.parametrize("chunk_s", [0.032, 0.05, 7.0])
def test_a_sound_file_comes_in_chunks_at_their_moments(stage, chunk_s):
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, 44_100).astype(np.float32)
    source = SoundFile(stage.file(samples, 44_100), stage.clock, NEVER, chunk_s=chunk_s, true_speech_ends_s=[0.5, 0.9])
    assert not source.live
    chunks, times_s = [], []
    for chunk in source:
        chunks.append(chunk)
        times_s.append(stage.clock.now_s())
    np.testing.assert_allclose(np.concatenate([chunk.samples for chunk in chunks]), samples, atol=1e-4)
    assert [chunk.end_s for chunk in chunks] == times_s and chunks[-1].end_s == pytest.approx(101)
    assert [end_s for chunk in chunks for end_s in chunk.true_speech_ends_s] == pytest.approx([100.5, 100.9])
    assert all(chunk.end_s - len(chunk.samples) / 44_100 < end_s <= chunk.end_s for chunk in chunks for end_s in chunk.true_speech_ends_s)


def test_a_stopped_sound_file_ends(stage):
    stop = threading.Event()
    source = SoundFile(stage.file(np.zeros(16_000)), stage.clock, stop)
    for count, _ in enumerate(source):
        if count == 3:
            stop.set()
    assert count == 3


def test_a_folder_shows_its_pictures_in_the_order_of_their_names(stage, tmp_path):
    for name, value in (("b.png", 20), ("a.jpg", 10), ("c.png", 30)):
        save(tmp_path / name, value)
    (tmp_path / "notes.txt").write_text("not a picture")
    with RecentFrames(Pictures(tmp_path, stage.clock)) as frames:
        shown = [[int(frame.pixels[0, 0, 0]) for frame in frames.at(100 + at_s)] for at_s in (0.0, 0.9, 1.0, 1.99, 2.2, 50.0)]
    assert shown == [[10], [10], [20], [20], [30], [30]]


def test_a_picture_stays(stage, tmp_path):
    with RecentFrames(open_camera(str(save(tmp_path / "a.png", 10)), stage.clock, NEVER)) as frames:
        (first,) = frames.at(100.0)
        (last,) = frames.at(10_000.0)
    assert first is last and first.pixels.shape == (24, 32, 3) and first.pixels.dtype == np.uint8
    assert frames.dropped == 0


@pytest.fixture
def video(tmp_path):
    """Two seconds, 25 frames a second, frame i all of grey 2 i."""
    av = pytest.importorskip("av")
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 2 * index, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_video_shows_the_frames_of_its_times(stage, video):
    with RecentFrames(open_camera(str(video), stage.clock, NEVER)) as frames:
        frames.advance(100.5)
        seen = frames.at(101.0)
        assert [round(frame.captured_s - 100, 2) for frame in seen] == [0.6, 0.72, 0.84, 0.96]  # spaced by 0.1 s or more, on a grid of 0.04
        assert [int(frame.pixels.mean()) for frame in seen] == [pytest.approx(2 * index, abs=4) for index in (15, 18, 21, 24)]
        assert round(frames.at(200.0)[-1].captured_s - 100, 2) == 1.92


def test_what_is_no_source_is_said_in_two_lines(stage, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video")
    (tmp_path / "empty").mkdir()
    broken = save(tmp_path / "broken.png", 3)
    broken.write_bytes(broken.read_bytes()[:40])
    sound = tmp_path / "sound.wav"
    write_wav(sound, np.zeros(16_000), 16_000)
    cases = {
        str(tmp_path / "missing.png"): "there is no file or folder",
        "missing-folder": "there is no file or folder missing-folder",
        str(tmp_path / "empty"): "holds no pictures",
        str(text): "is neither a picture nor a video",
        str(sound): "is neither a picture nor a video",
        str(broken): "broken.png",
        "/dev/video99": "there is no camera /dev/video99",
        "99": "there is no camera /dev/video99",
    }
    for what, words in cases.items():
        with pytest.raises(MmedgeError, match=words) as caught:
            open_camera(what, stage.clock, NEVER)
        assert str(caught.value).count("\n") == 1
    assert open_camera("none", stage.clock, NEVER) is None
    for what, words in {str(tmp_path / "missing.wav"): "there is no file", "missing.wav": "there is no file missing.wav", str(broken): "sound"}.items():
        with pytest.raises(MmedgeError, match=words):
            open_microphone(what, stage.clock, NEVER)


def test_machines_without_sound_devices_say_so(stage, monkeypatch):
    """Whatever this machine has: sounddevice is replaced by one that finds nothing."""
    import sys
    from types import SimpleNamespace

    from mmedge.assistant.sinks import open_speaker

    class PortAudioError(Exception):
        pass

    def query_devices(device, kind):
        raise PortAudioError("Error querying device -1") if device is None else ValueError(f"No {kind} device matching {device!r}")

    monkeypatch.setitem(sys.modules, "sounddevice", SimpleNamespace(query_devices=query_devices, PortAudioError=PortAudioError))
    for opened, what, words in (
        (lambda what: open_microphone(what, stage.clock, NEVER), "default", "there is no microphone"),
        (lambda what: open_microphone(what, stage.clock, NEVER), "Headset", "there is no microphone called 'Headset'"),
        (lambda what: open_speaker(what, stage.clock), "default", "there is no loudspeaker"),
        (lambda what: open_speaker(what, stage.clock), "Headset", "there is no loudspeaker called 'Headset'"),
    ):
        with pytest.raises(MmedgeError) as caught:
            opened(what)
        assert caught.value.what == words and "sounddevice lists" in caught.value.fix
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MmedgeError, match="sounddevice is not installed"):
        open_microphone("default", stage.clock, NEVER)


def test_a_backlog_that_overflows_loses_the_oldest_and_counts_every_sample(stage):
    backlog = Backlog(16_000, stage.clock)
    for index in range(400):
        stage.clock.work(0.032)
        backlog.put(np.full(512, index, np.float32), missed=False)
    kept = []
    while (chunk := backlog.get(0)) is not None:
        kept.append(chunk)
    assert sum(len(chunk.samples) for chunk in kept) <= BACKLOG_S * 16_000
    assert sum(len(chunk.samples) + chunk.lost_samples for chunk in kept) == 400 * 512
    assert kept[0].lost_samples > 0 and all(chunk.lost_samples == 0 for chunk in kept[1:])
    assert [int(chunk.samples[0]) for chunk in kept] == list(range(400 - len(kept), 400))
    assert kept[-1].end_s == pytest.approx(stage.clock.now_s())


def test_samples_are_timed_by_counting_not_by_arrival(stage):
    """Blocks that arrive in bursts of four were still captured one after another."""
    backlog, ends_s = Backlog(16_000, stage.clock), []
    for _ in range(250):
        stage.clock.work(0.128)
        for _ in range(4):
            backlog.put(np.zeros(512, np.float32), missed=False)
            chunk = backlog.get(0)
            ends_s.append(chunk.end_s)
            assert chunk.end_s <= stage.clock.now_s() + 1e-6
    steps_s = np.diff(ends_s[100:])
    assert np.all(np.diff(ends_s) >= 0) and steps_s.mean() == pytest.approx(0.032, abs=1e-3) and steps_s.max() < 0.06


def test_a_device_that_missed_samples_or_stood_still_is_timed_anew(stage):
    backlog = Backlog(16_000, stage.clock)
    stage.clock.work(0.032)
    backlog.put(np.zeros(512, np.float32), missed=False)
    stage.clock.work(5.0)
    backlog.put(np.zeros(512, np.float32), missed=True)
    backlog.get(0)
    chunk = backlog.get(0)
    assert chunk.lost_samples == 512 and chunk.end_s == stage.clock.now_s()


class Live:
    """A device that delivers when told."""

    live = True

    def __init__(self):
        self.given, self.taken, self.over = [], threading.Semaphore(0), False
        self.done = threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over = True
        self.taken.release()

    def __iter__(self):
        while True:
            self.done.set()
            self.taken.acquire()
            if self.over:
                return
            record = self.given.pop(0)
            if isinstance(record, Exception):
                raise record
            yield record

    def deliver(self, *records):
        for record in records:
            self.done.clear()
            self.given.append(record)
            self.taken.release()
            assert isinstance(record, Exception) or self.done.wait(5)


def test_of_a_live_camera_the_latest_frame_wins_and_the_rest_is_counted():
    camera = Live()
    with RecentFrames(camera) as frames:
        assert frames.at(10.0) == []
        camera.deliver(*(Frame(np.zeros((2, 2, 3), np.uint8), 100 + index / 30) for index in range(90)))
        seen = frames.at(102.5)
        assert seen[-1].captured_s <= 102.5 < seen[-1].captured_s + 0.1 and len(seen) == 4
        newest = frames.at(1000.0)
        assert newest[-1].captured_s == pytest.approx(100 + 89 / 30)
        assert len(frames._kept) <= 12 and frames.dropped + len(frames._kept) == 90
        assert frames.at(0.0)[0] is frames._kept[0], "all came later: the oldest there is"
    assert not frames._thread.is_alive()


def test_a_camera_that_fails_is_an_error_of_the_next_look():
    camera = Live()
    with RecentFrames(camera) as frames:
        camera.deliver(MmedgeError("the camera went away", "connect it"))
        frames._thread.join(5)
        with pytest.raises(MmedgeError, match="went away"):
            frames.at(0.0)


def test_video_needs_pyav(monkeypatch, video, stage):
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MmedgeError, match="av is not installed"):
        Video(video, stage.clock)
