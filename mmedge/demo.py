"""``mmedge demo``: the shipped assistant on real inputs. Its voice asks, the photographs are shown, the assistant answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from mmedge import hub
from mmedge.assistant.clock import Clock, ReplayClock
from mmedge.assistant.console import line, waterfall
from mmedge.assistant.loop import converse
from mmedge.assistant.run import parts_of
from mmedge.assistant.sinks import WavFile
from mmedge.assistant.sound_file import SoundFile
from mmedge.assistant.sources import Frame
from mmedge.build.export import export
from mmedge.bundle import Bundle
from mmedge.documents import disk_error, dump_json
from mmedge.errors import MmedgeError
from mmedge.processors.image import load_image
from mmedge.processors.wav import write_wav
from mmedge.profile.machine import machine
from mmedge.profile.report import Report
from mmedge.profile.turns import turn_rows
from mmedge.recipe import Recipe
from mmedge.target import Target
from mmedge.turn import Turn

PAUSE_S = 2.5
"""Between two questions: long enough for any answer to be ready."""
LEAD_S = 0.5
"""Silence before the first question, and the time for which a picture is there before somebody asks."""


@dataclass(frozen=True)
class Script:
    """The scene: one recording with all questions, and which picture is there from when on."""

    samples: NDArray[np.float32]
    rate_hz: int
    speech_ends_s: tuple[float, ...]
    pictures: tuple[tuple[float, Path], ...]


class Slides:
    """The pictures of a script in the place of a camera, each at its moment."""

    live = False

    def __init__(self, script: Script, clock: Clock) -> None:
        self._script, self._clock = script, clock

    def __enter__(self) -> Slides:
        self._start_s = self._clock.now_s()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        for from_s, path in self._script.pictures:
            yield Frame(load_image(path), self._start_s + from_s)


def demo(out: Path, target: Target, *, offline: bool, report: Callable[[str], None], show: Callable[[str], None] | None) -> Report:
    """Build the shipped assistant for ``target`` (unless ``out`` holds it), play the script of its recipe through the loop, and time it.

    Leaves in ``out``: ``questions.wav``, ``answers.wav``, ``turns.jsonl``, ``report.json`` and the bundle.

    Args:
        show: gets each turn as text; None where only the report is wanted.

    Raises:
        MmedgeError: weights cannot be had, the disk refuses, or piper-tts is missing.
    """
    recipe = Recipe.load("assistant-mini")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(out, error) from error
    path = out / f"{recipe.name}.bundle"
    bundle = _ready(path, recipe, target) or export(recipe, path, [target], offline=offline, report=report)
    pictures = hub.gather({name: (file.sources, file.sha256) for name, file in recipe.media.items()}, offline=offline, trace=report)
    script = _write_script(bundle, recipe, target, pictures, out / "questions.wav")
    turns = _play(bundle, script, target, out, show)
    made = Report(bundle=recipe.name, target=target.name, machine=machine(), rows=tuple(turn_rows(turns)))
    _write(out / "turns.jsonl", "".join(turn.model_dump_json(by_alias=True) + "\n" for turn in turns))
    _write(out / "report.json", dump_json(made))
    return made


def _ready(path: Path, recipe: Recipe, target: Target) -> Bundle | None:
    """The bundle of an earlier demo, if it is of this very recipe, compiled for this target, and whole."""
    wanted = recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    try:
        bundle = Bundle.open(path)
        if target.name not in bundle.manifest.engines or bundle.manifest.provenance.get("recipe") != wanted:
            return None
        for entry in bundle.manifest.files():
            bundle.file(entry)
    except MmedgeError:
        return None  # there is none, it was made by another version, or it is damaged: it is built
    return bundle


def _write_script(bundle: Bundle, recipe: Recipe, target: Target, pictures: Path, path: Path) -> Script:
    """Let the bundle's own voice ask the recipe's questions."""
    shown: list[tuple[float, Path]] = []
    ends_s: list[float] = []
    with bundle.session("voice", target) as voice:
        rate_hz = voice.rate_hz
        pieces = [np.zeros(round(LEAD_S * rate_hz), np.float32)]
        for scene in recipe.demo:
            shown.append((sum(map(len, pieces)) / rate_hz - LEAD_S, pictures / scene.picture))
            for question in scene.questions:
                samples, _ = voice.speak(question, varied=False)  # the same words must sound the same in every demo
                pieces.append(samples)
                ends_s.append(sum(map(len, pieces)) / rate_hz)
                pieces.append(np.zeros(round(PAUSE_S * rate_hz), np.float32))
    samples = np.concatenate(pieces)
    write_wav(path, samples, rate_hz)
    return Script(samples, rate_hz, tuple(ends_s), tuple(shown))


def _play(bundle: Bundle, script: Script, target: Target, out: Path, show: Callable[[str], None] | None) -> list[Turn]:
    turns: list[Turn] = []

    def on_turn(turn: Turn) -> None:
        turns.append(turn)
        if show:
            show(f"{line(turn)}\n{waterfall(turn)}\n")

    clock, stop = ReplayClock(), threading.Event()
    microphone = SoundFile(out / "questions.wav", clock, stop, true_speech_ends_s=script.speech_ends_s)
    with parts_of(bundle, target, microphone, Slides(script, clock), WavFile(out / "answers.wav", clock), clock) as parts:
        converse(parts, on_turn, stop)
    return turns


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise disk_error(path, error) from error
