"""Words of short English captions ("A bunch of red grapes."): what they name, without a grammar or a dictionary."""

from __future__ import annotations

import re
from collections.abc import Sequence

DETERMINERS = {"a", "an", "the", "some", "two", "our", "three", "another"}
QUANTITIES = {"pair", "bunch", "head", "cluster", "couple", "string"}
CLAUSE = {"with", "in", "on", "from", "for", "and", "or", "that", "which", "who", "at", "to", "by", "near", "as", "is", "was", "used", "made", "holding"}
CLAUSE |= {"lets", "means", "stands", "are", "resembles", "hatched", "inside", "making"}
"""A noun phrase ends before these."""
IRREGULAR = {"children": "child", "men": "man", "women": "woman", "feet": "foot", "teeth": "tooth", "geese": "goose", "mice": "mouse", "leaves": "leaf"}
IRREGULAR |= {"loaves": "loaf", "knives": "knife", "wolves": "wolf", "calves": "calf", "people": "person"}


def words(text: str) -> list[str]:
    """In small letters, without punctuation."""
    return re.findall(r"[a-z]+(?:[-'][a-z]+)*", text.lower().replace("’", "'"))


def first_phrase(caption: str) -> list[str]:
    """The words up to the first punctuation mark, without what stands in brackets."""
    return words(re.split(r"[.!?,;:—–]", re.sub(r"\(.*?\)", " ", caption).strip())[0])


def noun_phrase(phrase: Sequence[str]) -> list[str]:
    """Of a phrase without its determiner, the noun and what describes it: up to a clause, and "grapes" of "bunch of grapes", but "tail" of "tail of a lion"."""
    end = next((at for at, word in enumerate(phrase) if word in CLAUSE), len(phrase))
    found = list(phrase[:end])
    if "of" in found[1:]:
        at = found.index("of")
        found = [word for word in found[at + 1 :] if word not in ("a", "an", "the", "open", "closed")] if found[at - 1] in QUANTITIES else found[:at]
    return found


def head_noun(caption: str) -> str:
    """The last word of the first noun phrase, as a singular; empty where there is none."""
    phrase = first_phrase(caption)
    found = noun_phrase(phrase[1:] if phrase[:1] and phrase[0] in DETERMINERS else phrase)
    return singular(found[-1]) if found else ""


def singular(noun: str) -> str:
    """By rule: right for nearly all that name things."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if re.search(r"(ss|us|is)$", noun) or len(noun) < 4:
        return noun
    if noun.endswith("ies"):
        return f"{noun[:-3]}y"
    return re.sub(r"(?<=ch|sh|ss)es$|(?<=[xo])es$|s$", "", noun)
