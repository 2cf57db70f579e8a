"""What the command line asks of an evaluation, held against sense before minutes are spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from mmedge.errors import MmedgeError
from mmedge.evaluate.metrics.speech import Normalizer
from mmedge.evaluate.tasks import Setting


def setting(prompt: str, normalizer: str) -> Setting:
    """Raises MmedgeError: the prompt has no one place for a name, or there is no such normalizer."""
    if prompt.count("{}") != 1:
        raise MmedgeError(f"the prompt {prompt!r} has no one place for a class's name", 'write {} in it once: --prompt "a photo of a {}"')
    if normalizer not in get_args(Normalizer):
        raise MmedgeError(f"there is no normalizer {normalizer!r}", f"use one of: {', '.join(get_args(Normalizer))}")
    chosen: Any = normalizer
    return Setting(prompt, chosen)


def pairs(columns: Sequence[str] | None) -> dict[str, str]:
    """``text=caption_zh`` -> standard name, the data's own. Raises MmedgeError: that is no pair."""
    made = {}
    for one in columns or ():
        standard, equals, theirs = one.partition("=")
        if not (standard and equals and theirs):
            raise MmedgeError(f"--column {one} is no pair", "give a standard name and the data's own: --column text=caption_zh")
        made[standard] = theirs
    return made
