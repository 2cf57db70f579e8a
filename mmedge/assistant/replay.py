"""The golden question in front of the golden cat, again and again: the turns of a profile."""

from __future__ import annotations

import threading

import numpy as np

from mmedge.assistant.clock import ReplayClock
from mmedge.assistant.loop import converse
from mmedge.assistant.pictures import Pictures
from mmedge.assistant.run import parts_of
from mmedge.assistant.sinks import Nowhere
from mmedge.assistant.sound_file import SoundFile
from mmedge.bundle import Bundle
from mmedge.manifest import File
from mmedge.processors.audio import load_sound
from mmedge.target import Target
from mmedge.turn import Turn

SILENCE_S = 1.0
"""After the question: a recording that ends with its last word would spare the assistant the wait for the end of speech."""


def first_turn(bundle: Bundle, target: Target) -> None:
    """One question, answered: what a fresh process is timed on."""
    replay(bundle, target, 1)


def replay(bundle: Bundle, target: Target, turns: int) -> list[Turn]:
    """Play as many turns as that through the loop. Raises MmedgeError as ``parts_of`` does."""
    question, cat = (bundle.file(entry) for entry in (bundle.manifest.media["question"], bundle.manifest.media["cat"]) if isinstance(entry, File))
    made: list[Turn] = []
    clock, stop = ReplayClock(), threading.Event()
    samples, rate_hz = load_sound(question)
    sound = SoundFile((np.pad(samples, (0, round(SILENCE_S * rate_hz))), rate_hz), clock, stop)
    with parts_of(bundle, target, sound, Pictures(cat, clock), Nowhere(clock), clock) as parts:
        for _ in range(turns):
            parts.detector.reset()
            converse(parts, made.append, stop)
    return made
