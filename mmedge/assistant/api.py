"""The assistant from Python: the models and skills of the loop, without devices."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmedge.assistant.clock import ReplayClock
from mmedge.assistant.loop import converse
from mmedge.assistant.parts import Parts
from mmedge.assistant.pictures import Pictures
from mmedge.assistant.sinks import Nowhere
from mmedge.assistant.skills import Skills
from mmedge.assistant.sound_file import SoundFile
from mmedge.assistant.sources import Frame
from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.processors.image import Picture, load_image
from mmedge.target import Target, here, pick
from mmedge.turn import Turn


class Assistant:
    """What a bundle can do for a person. A model is opened when a verb first needs it. Not safe for two threads at once.

    Every verb raises MmedgeError when the bundle lacks a model that it needs, naming it.
    """

    def __init__(self, bundle: Bundle, target: Target, stack: contextlib.ExitStack) -> None:
        self._bundle, self._target, self._stack = bundle, target, stack
        self._sessions: dict[str, Any] = {}
        self._skills: Skills | None = None

    def describe_image(self, image: Picture) -> str:
        """What the picture (a path, a PIL image, or uint8 [H, W, 3] RGB) shows, in a sentence or two."""
        return self.answer_question(image, "What do you see?")

    def answer_question(self, image: Picture, question: str) -> str:
        """The answer to a question about the picture. Pictures of earlier calls are remembered: "what did you see before?"."""
        self._session("eyes")
        skills = self._skilled()
        return str(skills.answer(question, skills.look([Frame(load_image(image), 0.0)])))

    def listen(self, sound: str | os.PathLike[str], image: str | os.PathLike[str] | None = None) -> list[Turn]:
        """Play a recording to the loop, with a picture (or a folder of them) in front of the camera.

        Returns:
            A turn for each utterance; none where nobody speaks.

        Raises:
            MmedgeError: not a sound, not a picture.
        """
        clock, stop = ReplayClock(), threading.Event()
        turns: list[Turn] = []
        camera = Pictures(Path(image), clock) if image is not None else None
        vad, ears = self._session("vad"), self._session("ears")
        parts = Parts(vad.stream(), ears, self._skilled(), SoundFile(sound, clock, stop), Nowhere(clock), clock, camera)
        converse(parts, turns.append, stop)
        return turns

    def _skilled(self) -> Skills:
        if self._skills is None:
            self._skills = Skills(self._session("eyes") if "eyes" in self._bundle.manifest.models else None)
        return self._skills

    def _session(self, role: str) -> Any:
        if role not in self._sessions:
            if role not in self._bundle.manifest.models:
                raise MmedgeError(f"{self._bundle.path} has no model {role!r}, which this needs", f"it has: {', '.join(self._bundle.manifest.models)}")
            self._sessions[role] = self._stack.enter_context(self._bundle.session(role, self._target))
        return self._sessions[role]


@contextlib.contextmanager
def open_assistant(path: str | os.PathLike[str], *, target: str | None = None) -> Iterator[Assistant]:
    """Open a bundle as an assistant; everything is closed at the end of the ``with``.

    Args:
        path: the bundle's folder.
        target: a name or a TOML file; by default this machine's best, of those that the bundle is compiled for.

    Raises:
        MmedgeError: no bundle there, or an unknown target.
    """
    bundle = Bundle.open(str(path))
    with contextlib.ExitStack() as stack:
        yield Assistant(bundle, Target.load(target) if target else pick(here(), bundle.manifest.engines), stack)
