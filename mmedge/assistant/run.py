"""``mmedge run``: a bundle, a microphone, a camera, a loudspeaker."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mmedge.assistant import console
from mmedge.assistant.clock import Clock, RealClock, ReplayClock
from mmedge.assistant.loop import converse
from mmedge.assistant.parts import Parts, Summary
from mmedge.assistant.sinks import Sink, is_wav_file, open_speaker
from mmedge.assistant.skills import Skills
from mmedge.assistant.sources import AudioChunk, Frame, Source, is_picture_file, is_sound_file, open_camera, open_microphone
from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.manifest import File
from mmedge.processors.image import load_image
from mmedge.target import Target
from mmedge.turn import Turn


def run(path: Path, target: Target, *, mic: str, camera: str, speaker: str, as_json: bool) -> Summary:
    """Listen, look and answer until the sound ends, or until SIGINT or SIGTERM: then the turn in progress is finished first.

    Args:
        mic, camera, speaker: as ``open_microphone``, ``open_camera`` and ``open_speaker`` take them.
        as_json: write each turn as one line of JSON to stdout, and the summary as the last one; the plain lines then go to stderr.

    Raises:
        MmedgeError: the bundle, a file or a device is not what it should be; nothing was listened to yet. Or a device failed on the way.
    """
    bundle, stop = Bundle.open(path), threading.Event()
    if lacking := [role for role in ("vad", "ears") if role not in bundle.manifest.models]:
        raise MmedgeError(f"{path} is no assistant: it has no model {lacking[0]!r}", "make one: mmedge export")
    on_files = is_sound_file(mic) and is_picture_file(camera) and (speaker == "none" or is_wav_file(speaker))
    clock: Clock = ReplayClock() if on_files else RealClock()
    sources = open_microphone(mic, clock, stop), open_camera(camera, clock, stop), open_speaker(speaker, clock)

    def on_turn(turn: Turn) -> None:
        _write(turn, console.line(turn), as_json)

    with parts_of(bundle, target, *sources, clock, mute=speaker == "none") as parts, _stopped_by_signals(stop):
        if not on_files:
            sys.stderr.write("listening; Ctrl-C ends it\n")
            sys.stderr.flush()
        summary = converse(parts, on_turn, stop)
    _write(summary, console.ending(summary), as_json)
    return summary


@contextmanager
def parts_of(
    bundle: Bundle, target: Target, microphone: Source[AudioChunk], camera: Source[Frame] | None, sink: Sink, clock: Clock, *, mute: bool = False
) -> Iterator[Parts]:
    """Open a bundle's models for the loop, each run once, so that the first turn is as fast as the others.

    ``eyes`` and ``voice`` may be missing from the bundle; ``mute`` leaves the voice out.

    Raises:
        MmedgeError: no ``vad`` or ``ears`` in the bundle, not compiled for the target, or a package is missing.
    """
    models = bundle.manifest.models
    with ExitStack() as stack:
        vad, ears = (stack.enter_context(bundle.session(role, target)) for role in ("vad", "ears"))
        eyes = stack.enter_context(bundle.session("eyes", target)) if "eyes" in models else None
        voice = stack.enter_context(bundle.session("voice", target)) if "voice" in models and not mute else None
        parts = Parts(vad.stream(), ears, Skills(eyes), microphone, sink, clock, camera if eyes is not None else None, voice)
        _warm_up(bundle, parts, eyes is not None)
        yield parts


def _warm_up(bundle: Bundle, parts: Parts, has_eyes: bool) -> None:
    """Runtimes allocate and choose kernels at their first run: let that be the golden question, not the user's."""
    question, cat = bundle.manifest.media["question"], bundle.manifest.media["cat"]
    if isinstance(question, File):
        parts.ears.transcribe(bundle.file(question))
    if has_eyes and isinstance(cat, File):
        parts.skills.look([Frame(load_image(bundle.file(cat)), 0.0)])
    if parts.voice is not None:
        list(parts.voice.stream("Yes."))


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM end the run in good order; a second one interrupts it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(document: Turn | Summary, line: str, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(document.model_dump_json(by_alias=True) + "\n")
        sys.stdout.flush()
    plain = sys.stderr if as_json else sys.stdout
    plain.write(line + "\n")
    plain.flush()
