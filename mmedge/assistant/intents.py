"""What an utterance wants, by its nearness to examples in the space of a sentence encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Embed = Callable[[list[str]], NDArray[np.float32]]

THRESHOLD = 0.40
"""Cosine with the nearest centroid below which an utterance is none of these: keeps nine in ten, refuses nine in ten of anything else."""

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "look": (
        "what do you see",
        "what can you see",
        "what is this",
        "what is that thing",
        "what am I holding in my hand",
        "tell me what is in the picture",
        "describe the picture",
        "what is in front of the camera",
        "what are you looking at",
        "can you tell me what this is",
        "do you know what this is called",
        "do you recognise this",
        "what kind of animal is this",
        "what sort of thing is it",
        "look at this",
        "what is on the table",
    ),
    "presence": (
        "is there a cat",
        "is there a bicycle in the picture",
        "do you see a dog",
        "can you see any flowers",
        "is this a cup",
        "is that an animal",
        "is it a car or a truck",
        "are there any birds here",
        "are there people in the picture",
        "do you recognise a chair",
        "does it look like a hammer",
        "is there something to eat",
        "is there an apple on the table",
        "could this be a fish",
        "are those shoes",
        "is a dog in front of you",
        "any tools in the image",
    ),
    "certainty": (
        "how sure are you",
        "are you sure",
        "are you certain about that",
        "how certain are you",
        "how confident are you",
        "really",
        "do you really think so",
        "what is the probability",
        "is that a guess",
        "could you be wrong",
    ),
    "memory": (
        "what did you see before",
        "what did you see earlier",
        "what was there before",
        "what was it a moment ago",
        "what was the last thing I showed you",
        "what did I show you",
        "do you remember what you saw",
        "have you seen a dog before",
        "did you see a cat earlier",
        "when did you last see a bird",
        "what have you seen so far",
        "which things did you see today",
    ),
    "time": (
        "what time is it",
        "what's the time",
        "tell me the time",
        "how late is it",
        "do you know what time it is",
        "could you tell me the time please",
        "what does the clock say now",
        "is it noon yet",
    ),
    "date": (
        "what day is it",
        "what is the date today",
        "which day of the week is it",
        "what is today's date",
        "what month is it",
        "what year is it",
        "tell me the date",
        "is today Monday",
    ),
    "beyond": (
        "how many cups are there",
        "count the birds",
        "what colour is it",
        "which color is the car",
        "where is the dog",
        "is it left or right of the table",
        "how big is it",
        "who is this person",
        "what is the name of this man",
        "how old is she",
        "read the text",
        "what does the sign say",
        "what is the dog doing",
        "is he happy or sad",
        "why is it there",
        "how much does it cost",
    ),
    "ability": (
        "what can you do",
        "who are you",
        "what are you",
        "help",
        "how do you work",
        "what can I ask you",
        "can you hear me",
        "what is your name",
    ),
    "greeting": (
        "hello",
        "hi there",
        "good morning",
        "hey, how are you",
        "good evening",
        "nice to meet you",
        "how are you doing",
        "hello, can we talk",
    ),
    "thanks": (
        "thank you",
        "thanks a lot",
        "that was helpful",
        "good job",
        "well done",
        "goodbye",
        "see you later",
        "that is all for now",
    ),
}
"""Intent -> ways to say it."""


class Router:
    """Nearest centroid. ``embed`` gives rows of length 1."""

    def __init__(self, embed: Embed, examples: Mapping[str, Sequence[str]] = EXAMPLES) -> None:
        self._embed = embed
        self._names = list(examples)
        rows = embed([text for texts in examples.values() for text in texts])
        ends = np.cumsum([len(texts) for texts in examples.values()])
        means = np.stack([part.mean(axis=0) for part in np.split(rows, ends[:-1])])
        self._centroids = means / np.linalg.norm(means, axis=1, keepdims=True)

    def __call__(self, text: str) -> str | None:
        """The intent, or None where the utterance is none of those known."""
        cosines = self._centroids @ self._embed([text])[0]
        best = int(cosines.argmax())
        return self._names[best] if cosines[best] >= THRESHOLD else None
