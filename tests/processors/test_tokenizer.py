import pytest
from checkpoints.small_tokenizers import byte_level

from mmedge.errors import MmedgeError
from mmedge.processors.tokenizer import read_tokenizer


def test_it_neither_cuts_nor_fills(tmp_path):
    tokenizer = byte_level()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=10)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    read = read_tokenizer(tmp_path / "tokenizer.json")
    assert read.encode("Hello, world").ids == byte_level().encode("Hello, world").ids
    assert len(read.encode("Hello, world").ids) > 3 > len(read.encode("He").ids) - 1


def test_what_is_no_tokenizer_is_named(tmp_path):
    for content in (None, "{", '{"not": "one"}'):
        if content:
            (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(MmedgeError, match=r"tokenizer\.json is no tokenizer"):
            read_tokenizer(tmp_path / "tokenizer.json")
