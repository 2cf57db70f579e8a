"""What a recogniser says of one piece of sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.processors.audio import Samples


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard in one piece of sound."""

    text: str
    """Empty where nothing was said, or nothing that can be believed."""
    tokens: tuple[int, ...]
    seconds: float
    """Length of the piece."""
    stopped: str = "stop"
    """Why the last decode ended: ``stop``, ``length``, ``loop``; ``silence`` where none was needed."""
    avg_logprob: float = 0.0
    no_speech: float = 0.0
    """Probability, 0 to 1, that nobody speaks; 0 where the model does not tell."""
    window_s: int = 0
    """The window of the last decode, where the model has windows."""
    tries: int = 1


def silence(seconds: float) -> Heard:
    """Of a piece in which every sample is 0: no model is asked."""
    return Heard("", (), seconds, "silence", no_speech=1.0, tries=0)


class Recogniser(Protocol):
    """One kind of model behind the verbs of the session. Samples are float32 [n] at ``rate_hz``."""

    @property
    def rate_hz(self) -> int: ...

    @property
    def longest_s(self) -> float:
        """What is longer is cut into pieces."""
        ...

    def features(self, samples: Samples) -> NDArray[np.float32]:
        """What the encoder is given for a sound."""
        ...

    def tokens(self, samples: Samples, max_tokens: int) -> list[int]:
        """The likeliest tokens, as the model gives them."""
        ...

    def words(self, tokens: Sequence[int]) -> str:
        """What tokens say, special ones left out."""
        ...

    def hear(self, samples: Samples) -> Heard:
        """What is said in a piece of at most ``longest_s``."""
        ...


def lacking(what: str, file: str) -> NoReturn:
    """Raises MmedgeError."""
    raise MmedgeError(f"there is no text without {what}: the checkpoint of this bundle had none", f"add {file} to the checkpoint and export it again")
