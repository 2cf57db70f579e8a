"""Words of English captions as the COCO caption evaluation counts them, which runs Stanford's PTBTokenizer 3.4.1 in Java.

Written after the Penn Treebank's rules (MacIntyre's tokenizer script, 1995) and what that program answers; see ``NAME`` for how often it differs. For English:
a Chinese sentence is one word here, as it is there.
"""

from __future__ import annotations

import re

NAME = "mmedge's tokenizer, after PTBTokenizer 3.4.1 (3 of 25014 COCO captions differ)"

ABBREVIATIONS = r"(?:mr|mrs|ms|dr|prof|st|sr|jr|ave|blvd|rd|ft|mt|vs|etc|inc|co|corp|ltd|jan|feb|apr|aug|sept?|oct|nov)"
CLITIC = r"n't|'(?:s|m|d|ll|re|ve)"
TOKEN = re.compile(
    rf"""
      \b{ABBREVIATIONS}\.
    | (?:[^\W\d_]\.){{2,}}(?:[^\W\d_]\b)?                 # t.v.  u.s.a
    | (?<![\w.])\.\d+ | \d+(?:[.,:/]\d+)+                # .5  1,000  11:44  1/2
    | (?:can)(?=not\b) | (?:gon|wan)(?=na\b) | got(?=ta\b) | (?:lem|gim)(?=me\b)
    | \w+?(?:[-/]\w+?)*(?=(?:{CLITIC})+(?!\w))           # what stands before n't or 's
    | (?:{CLITIC})(?=\W|$|{CLITIC})
    | '(?:em|\d0s)\b
    | \w+(?:[-/.@]\w+|'(?=[^\W\d])\w+)*                 # tub/shower  four-way  o'clock
    | [!?]{{2,}}
    | [^\s\w]                                            # a sign, or punctuation
    """,
    re.VERBOSE,
)
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
"""They stay: the evaluation removes them in capitals only."""
PUNCTUATION = set("'`.?!,:;-\"–—…")
SAME = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "€": "$"})


def tokenize(text: str) -> list[str]:
    """The words and signs in lower case, without punctuation."""
    plain = text.lower().translate(SAME)
    return [BRACKETS.get(token, token) for token in TOKEN.findall(plain) if token not in PUNCTUATION]
