import numpy as np
import pytest
from checkpoints.small_tokenizers import KINDS, TEXTS, byte_fallback, byte_level

from mmedge.generate.decode import Sampling
from mmedge.generate.stream import UNFINISHED, TextStream
from mmedge.generate.text import write


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return KINDS[request.param]()


def pieces(tokenizer, tokens):
    stream = TextStream(tokenizer)
    return [*(stream.push(token) for token in tokens), stream.end()]


@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_are_the_whole_and_never_half_a_character(tokenizer, text):
    tokens = tokenizer.encode(text).ids
    given = pieces(tokenizer, tokens)
    assert "".join(given) == tokenizer.decode(tokens)
    assert not any(UNFINISHED in piece for piece in given)
    for piece in given:
        piece.encode()  # no half of a surrogate pair either
    assert len([piece for piece in given if piece]) > 1, "it came in pieces"


def test_a_character_of_several_tokens_comes_with_the_last_of_them():
    for tokenizer in (byte_level(), byte_fallback()):
        tokens = tokenizer.encode("😀").ids[-4:]
        assert len(tokens) == 4
        assert pieces(tokenizer, tokens) == ["", "", "", "😀", ""]


def test_text_comes_as_soon_as_it_is_certain(tokenizer):
    tokens = tokenizer.encode("Hello world").ids
    given = pieces(tokenizer, tokens)
    assert given[-1] == "" and [piece for piece, token in zip(given, tokens) if not piece and tokenizer.decode([token]).strip()] == []


def test_special_tokens_have_no_text_and_take_no_space_away(tokenizer):
    end = tokenizer.token_to_id("</s>")
    first, second = tokenizer.encode("Hello").ids, tokenizer.encode("Hello world").ids
    tokens = [end, *first, end, end, *second[len(first) :], end]
    assert "".join(pieces(tokenizer, tokens)) == tokenizer.decode(tokens, skip_special_tokens=True)


def test_random_tokens_give_what_the_whole_gives():
    """No text anybody would write, broken characters included."""
    tokenizer, random = byte_level(), np.random.default_rng(0)
    for _ in range(200):
        tokens = random.integers(0, tokenizer.get_vocab_size(), 12).tolist()
        given = pieces(tokenizer, tokens)
        assert "".join(given) == tokenizer.decode(tokens)


def test_bytes_that_never_become_a_character_end_as_broken_ones():
    tokenizer = byte_fallback()
    ni, hao = (tokenizer.encode(character).ids[-3:] for character in "你好")
    letter = tokenizer.token_to_id("H")
    assert pieces(tokenizer, [*ni, *hao[:2], letter]) == ["", "", "你", "", "", UNFINISHED * 2 + "H", ""]  # what was shown stays
    assert pieces(tokenizer, [letter, *ni[:2]]) == ["H", "", "", UNFINISHED * 2]


def scripted(tokens, vocabulary):
    said = iter(tokens)

    def step(ids):
        logits = np.zeros(vocabulary, np.float32)
        logits[next(said)] = 9
        return logits

    return step


@pytest.mark.parametrize("text", TEXTS)
def test_writing_gives_the_text_and_tells_it_in_pieces(tokenizer, text):
    tokens = tokenizer.encode(text).ids
    stop, told = tokenizer.token_to_id("</s>"), []
    step = scripted([*tokens, stop], tokenizer.get_vocab_size())
    whole = write(step, [0], tokenizer, stop=frozenset([stop]), on_text=told.append)
    assert whole == tokenizer.decode(tokens) == "".join(told) and "" not in told
    assert write(scripted([*tokens, stop], tokenizer.get_vocab_size()), [0], tokenizer, stop=frozenset([stop])) == whole


def test_a_text_cut_within_a_character_tells_it_all_the_same():
    tokenizer, told = byte_level(), []
    tokens = tokenizer.encode("😀").ids
    step = scripted(tokens, tokenizer.get_vocab_size())
    whole = write(step, [0], tokenizer, stop=frozenset(), sampling=Sampling(max_tokens=len(tokens) - 1), on_text=told.append)
    assert whole == "".join(told) == UNFINISHED
