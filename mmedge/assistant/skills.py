"""What the assistant can answer: what it sees, whether something is there, how sure it is, what it saw before, and the time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mmedge.assistant.intents import Router
from mmedge.assistant.sources import Frame
from mmedge.assistant.wording import NOBODY, Asked, a, percent, plain, things_in
from mmedge.errors import MmedgeError
from mmedge.turn import Seen

SURE, PERHAPS = 0.6, 0.2
"""From which chance on it looks like something, and may be something."""
TOP = 5
REMEMBERED = 50
"""Looks that are kept."""

BLIND = "I can't see anything. There is no camera."


@dataclass(frozen=True, eq=False)
class View:
    """What was recognised in a few frames of one scene."""

    seen: tuple[Seen, ...]
    look: Any
    """What the eyes make answers from."""


class Skills:
    """Answers in one or two sentences, the first one short: it is spoken while the second is being synthesised.

    ``eyes`` is a session of the family dual_encoder, or None: then only the time can be told.
    """

    def __init__(self, eyes: Any | None, now: Callable[[], datetime] = datetime.now) -> None:
        """Raises MmedgeError: the eyes are of a family, or a kind, that cannot recognise things."""
        try:
            _ = None if eyes is None else eyes.things
        except (AttributeError, MmedgeError) as error:
            fix = "use a bundle whose eyes know ImageNet's classes, such as the assistant's own or CLIP's; what mmedge distill trains knows its captions alone"
            raise MmedgeError("the eyes of this bundle cannot answer questions about pictures", fix) from error
        self._eyes, self._now = eyes, now
        self._router = None if eyes is None else Router(lambda texts: eyes.embed_text(texts))
        self._past: list[View] = []
        self._topic: Asked | None = None

    def look(self, frames: Sequence[Frame]) -> View:
        """Recognise frames of one scene; their probabilities are averaged. Nothing is remembered yet."""
        if self._eyes is None:
            return View((), None)
        found = self._eyes.look([frame.pixels for frame in frames])
        return View(tuple(Seen(label=label, score=score) for label, score in self._eyes.recognise(found, TOP)), found)

    def answer(self, heard: str, view: View | None) -> str:
        """Words to say. The view is remembered for later questions."""
        text = plain(heard)
        if view is not None and view.look is None:
            view = None
        answer = self._answer(text, view)
        if view is not None and view not in self._past:
            self._past = [*self._past, view][-REMEMBERED:]
        return answer

    def _answer(self, text: str, view: View | None) -> str:
        if not text:
            return "I didn't understand that."
        intent, asked = self._intent(text), self._asked(text)
        if asked and intent in NO_MATTER and YES_OR_NO.match(text):
            intent = "presence"
        if intent == "time":
            return f"It is {self._now():%H:%M}."
        if intent == "date":
            today = self._now()
            return f"It is {today:%A}, {today:%B} {today.day}, {today.year}."
        if intent in REPLIES:
            return REPLIES[intent]
        if intent == "memory":
            return self._remember(text, view)
        if intent is None:
            return "I can't tell. Ask me what I see, or whether there is something."
        if view is None:
            return BLIND
        if intent == "certainty":
            return self._certainty(view)
        if intent == "presence" and asked:
            self._topic = asked[-1]
            return self._presence(asked, view)
        self._topic = None
        return self._describe(view)

    def _intent(self, text: str) -> str | None:
        if self._router is not None:
            return self._router(text)
        # Without eyes there is no sentence encoder either.
        return "time" if re.search(r"\btime\b", text) else "date" if re.search(r"\b(?:day|date)\b", text) else "look"

    def _asked(self, text: str) -> list[Asked]:
        return [] if self._eyes is None else things_in(text, self._eyes.things.find, self._eyes.things.covered)

    def _describe(self, view: View) -> str:
        first, *others = view.seen
        if first.score >= SURE:
            return f"It looks like {a(first.label)}. I'm {percent(first.score)} sure."
        kind = self._kind(view)
        if kind is not None and kind != first.label.lower():
            return f"It looks like some kind of {kind}. {f'Perhaps {a(first.label)}.' if first.score >= PERHAPS else 'I cannot tell which.'}"
        if first.score >= PERHAPS:
            return f"I'm not sure. It may be {a(first.label)}, or {a(others[0].label)}."
        return f"I can't tell what it is. My best guess is {a(first.label)}, but I'm only {percent(first.score)} sure."

    def _kind(self, view: View) -> str | None:
        assert self._eyes is not None
        found = self._eyes.things.kind(view.look.probabilities, SURE)
        return None if found is None else str(found[0])

    def _presence(self, asked: Sequence[Asked], view: View) -> str:
        if len(asked) > 1:
            return " ".join(f"{a(one.thing).capitalize()}: {self._verdict(one, view)[0].lower()}." for one in asked).replace(": i ", ": I ")
        one = asked[0]
        short, chance = self._verdict(one, view)
        if short == "Yes":
            unchecked = f" I can't tell whether it is {one.rest}." if one.rest else ""
            return f"Yes, I see {a(one.thing)}.{unchecked}"
        if one.thing in NOBODY:
            return "I can't tell. I never learned to recognise people."
        if short != "I don't recognise one" and chance >= PERHAPS:
            return f"Perhaps. I'm {percent(chance)} sure that I see {a(one.thing)}."
        first = view.seen[0]
        hint = f" It looks like {a(first.label)}." if first.score >= SURE else ""
        return f"{short}.{hint}"

    def _verdict(self, one: Asked, view: View) -> tuple[str, float]:
        """(Yes, I can't tell, or I don't recognise one; the chance)."""
        if self._eyes is None or one.thing in NOBODY:
            return "I can't tell", 0.0
        found = self._eyes.verdict(view.look, one.thing)
        return {"yes": "Yes", "no": "I don't recognise one"}.get(found.answer, "I can't tell"), found.chance

    def _certainty(self, view: View) -> str:
        if self._topic is not None and self._topic.thing not in NOBODY:
            thing, chance = self._topic.thing, self._verdict(self._topic, view)[1]
            claim = f"there is {a(thing)}"
        else:
            thing, chance = view.seen[0].label, view.seen[0].score
            claim = f"it is {a(thing)}"
        short = "Quite sure. " if chance >= SURE else "Not very sure. " if chance >= PERHAPS else ""
        return f"{short}I'm {percent(chance)} sure that {claim}."

    def _remember(self, text: str, view: View | None) -> str:
        past = [old for old in self._past if view is None or old.seen[0].label != view.seen[0].label]
        for one in self._asked(text):
            if any(self._verdict(one, old)[0] == "Yes" for old in past):
                return f"Yes, I saw {a(one.thing)} before."
            return f"I don't remember {a(one.thing)}." if past else "I haven't seen anything else yet."
        if not past:
            return "I haven't seen anything else yet."
        last = past[-1]
        return f"Before, {_lower_first(self._describe(last).replace('It looks like', 'it looked like').replace('It may be', 'it may have been'))}"


def _lower_first(sentence: str) -> str:
    return sentence if sentence.startswith(("I ", "I'")) else sentence[:1].lower() + sentence[1:]


YES_OR_NO = re.compile(r"(?:is|are|was|were|do|does|did|can|could|have|any)\b")
NO_MATTER = frozenset({None, "greeting", "thanks", "ability"})
"""Intents that a yes/no question about a thing is sometimes mistaken for."""

REPLIES = {
    "beyond": "I can't tell. I only recognise what kind of thing is in the picture.",
    "ability": "I look and I listen. Ask me what I see, whether there is something, how sure I am, what I saw before, or the time.",
    "greeting": "Hello. Ask me what I see.",
    "thanks": "You're welcome.",
}
"""Where there is nothing to work out."""
