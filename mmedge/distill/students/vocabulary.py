"""A vocabulary of the words that are needed: tokens that a corpus uses, and single characters, so that everything else can still be spelt."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from tokenizers import Tokenizer

from mmedge.distill.students.transformer import like
from mmedge.errors import MmedgeError, first_line

BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def prune_vocabulary(tokenizer: bytes, texts: Iterable[str]) -> tuple[bytes, list[int]]:
    """Keep what ``texts`` need: they are cut into the same tokens as before.

    Also kept are special and added tokens, single characters and bytes, and for BPE what lies between characters and a kept token. Others are spelt by those.

    Args:
        tokenizer: a tokenizer.json of WordPiece or BPE.

    Returns:
        The smaller tokenizer.json, and the old id of each of its tokens: rows of the embedding, rising, so that the order of ids stays.

    Raises:
        MmedgeError: it is none, of another kind, or the texts use no token.
    """
    try:
        whole = Tokenizer.from_str(tokenizer.decode())
    except Exception as error:  # tokenizers raises nothing more specific
        raise MmedgeError(f"this is no tokenizer.json: {first_line(error)}", "give the teacher's own") from error
    document = json.loads(tokenizer)
    model = document["model"]
    if model["type"] not in ("WordPiece", "BPE"):
        raise MmedgeError(f"a vocabulary of {model['type']} cannot be pruned", 'write vocabulary = "whole"; WordPiece and BPE can be pruned')
    whole.no_truncation()
    whole.no_padding()
    used = {one for text in texts for one in whole.encode(text, add_special_tokens=False).tokens}
    if not used:
        raise MmedgeError("the vocabulary is pruned to the tokens of no text at all", "give the texts that the student is to read")
    affixes = [affix for affix in (model.get("continuing_subword_prefix"), model.get("end_of_word_suffix")) if affix]
    kept = used | {token for token in model["vocab"] if len(_bare(token, affixes)) == 1 or BYTE.fullmatch(token)}
    kept |= {model.get("unk_token")} | {added["content"] for added in document["added_tokens"]}
    if model["type"] == "BPE":
        kept |= _steps(model, used)
        pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
        model["merges"] = [[left, right] for left, right in pairs if {left, right, _joined(left, right, model)} <= kept]
    vocabulary = whole.get_vocab(with_added_tokens=True)
    ids = sorted({vocabulary[token] for token in kept & vocabulary.keys()})
    new = {one: number for number, one in enumerate(ids)}
    model["vocab"] = {token: new[one] for token, one in sorted(model["vocab"].items(), key=lambda item: item[1]) if token in kept}
    for added in document["added_tokens"]:
        added["id"] = new[added["id"]]
    _renumber(document.get("post_processor"), new)
    if document.get("padding"):
        document["padding"]["pad_id"] = new[document["padding"]["pad_id"]]
    return json.dumps(document, ensure_ascii=False).encode(), ids


def _bare(token: str, affixes: Sequence[str]) -> str:
    for affix in affixes:
        token = token.removeprefix(affix).removesuffix(affix) if token != affix else token
    return token


def _joined(left: str, right: str, model: dict[str, Any]) -> str:
    return left + right.removeprefix(model.get("continuing_subword_prefix") or "")


def _steps(model: dict[str, Any], tokens: Iterable[str]) -> set[str]:
    """All that BPE goes through on its way from characters to these tokens. Merges across a token's border did not happen, or it would not have come about."""
    ranks = {tuple(pair if isinstance(pair, list) else pair.split(" ")): rank for rank, pair in enumerate(model["merges"])}
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    found = set()
    for token in tokens:
        bare = token.removesuffix(suffix) if suffix and token != suffix else token
        parts = [letter if place == 0 else prefix + letter for place, letter in enumerate(bare)]
        parts[-1] += token[len(bare) :]
        while len(parts) > 1:
            rank, place = min((ranks.get((left, right), len(ranks)), place) for place, (left, right) in enumerate(pairwise(parts)))
            if rank == len(ranks):
                break
            parts[place : place + 2] = [_joined(parts[place], parts[place + 1], model)]
            found.add(parts[place])
    return found


def _renumber(processor: Any, new: dict[int, int]) -> None:
    """The ids of special tokens in a post processor, in place; in BERT's and RoBERTa's as [token, id]."""
    if isinstance(processor, list):
        for one in processor:
            _renumber(one, new)
    elif isinstance(processor, dict):
        for name, value in processor.items():
            if name == "ids":
                processor[name] = [new[one] for one in value]
            elif name in ("sep", "cls"):
                processor[name] = [value[0], new[value[1]]]
            else:
                _renumber(value, new)


def with_vocabulary(teacher: Any, kept: Sequence[int]) -> Any:
    """A new encoder of transformers that has these rows of the teacher's word embedding, in evaluation mode.

    Args:
        kept: the old ids, as ``prune_vocabulary`` gives them.

    Raises:
        MmedgeError: it writes words as well, or has fewer words than that.
    """
    if teacher.get_output_embeddings() is not None or teacher.config.is_encoder_decoder:
        raise MmedgeError(f"a {type(teacher).__name__} writes with its vocabulary", "prune the vocabulary of encoders only")
    embedding = teacher.get_input_embeddings()
    if kept[-1] >= embedding.num_embeddings:
        raise MmedgeError(f"the tokenizer has an id {kept[-1]}, the teacher only {embedding.num_embeddings} words", "give the teacher's own tokenizer.json")
    new = {one: number for number, one in enumerate(kept)}
    config = copy.deepcopy(teacher.config)
    config.vocab_size = len(kept)
    for name, value in teacher.config.to_dict().items():
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(config, name, new.get(value))
    student = like(teacher, config)
    weights = teacher.state_dict()
    name = next(name for name, weight in teacher.named_parameters() if weight is embedding.weight)
    weights[name] = weights[name][torch.tensor(kept)]
    student.load_state_dict(weights)
    return student.eval()
