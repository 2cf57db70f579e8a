"""``mmedge profile``: graphs and verbs, and for an assistant the whole turn with its stages."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmedge.assistant.clock import ReplayClock
from mmedge.assistant.loop import converse
from mmedge.assistant.pictures import Pictures
from mmedge.assistant.run import parts_of
from mmedge.assistant.sinks import Nowhere
from mmedge.assistant.sound_file import SoundFile
from mmedge.bundle import Bundle
from mmedge.manifest import File
from mmedge.need import NotInstalled
from mmedge.processors.audio import load_sound
from mmedge.profile import report
from mmedge.profile.report import Report
from mmedge.profile.turns import turn_rows
from mmedge.target import Target
from mmedge.turn import Turn

TURNS = 20
"""Enough for a median; a 90th percentile of whole turns would take minutes."""
SILENCE_S = 1.0
"""After the question: a recording that ends with its last word would spare the assistant the wait for the end of speech."""


def profile(path: Path, target: Target, progress: Callable[[str], None]) -> Report:
    """Measure a bundle on a target, level by level.

    Raises:
        MmedgeError: the bundle is not compiled for the target, or its engines are built on the device.
    """
    made = report.profile(path, target, progress)
    bundle = Bundle.open(path)
    if not {"vad", "ears"} <= set(bundle.manifest.models) or target.backends == ("null",):
        return made
    progress(f"{TURNS} turns")
    try:
        return made.model_copy(update={"rows": (*made.rows, *turn_rows(_turns(bundle, target)))})
    except NotInstalled as error:
        return made.model_copy(update={"not_run": (*made.not_run, f"turn: {error.what}")})


def _turns(bundle: Bundle, target: Target) -> list[Turn]:
    """The golden question in front of the golden cat, again and again."""
    question, cat = (bundle.file(entry) for entry in (bundle.manifest.media["question"], bundle.manifest.media["cat"]) if isinstance(entry, File))
    turns: list[Turn] = []
    clock, stop = ReplayClock(), threading.Event()
    samples, rate_hz = load_sound(question)
    sound = SoundFile((np.pad(samples, (0, round(SILENCE_S * rate_hz))), rate_hz), clock, stop)
    with parts_of(bundle, target, sound, Pictures(cat, clock), Nowhere(clock), clock) as parts:
        for _ in range(TURNS):
            parts.detector.reset()
            converse(parts, turns.append, stop)
    return turns
