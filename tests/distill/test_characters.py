"""A vocabulary of characters: what was seen has its own token, what was not is bytes, and nothing is unknown."""

from __future__ import annotations

from tokenizers import Tokenizer

from mmedge.distill.characters import character_tokenizer


def test_characters_and_bytes():
    made = Tokenizer.from_buffer(character_tokenizer(["青蛙。", "企鹅－Ｌｉｎｕｘ"]))
    assert made.encode("青蛙。").tokens == ["[CLS]", "青", "蛙", "。"]
    assert made.encode(" LINUX ").tokens == ["[CLS]", *"linux"]
    unseen = made.encode("鸭")
    assert [token for token in unseen.tokens if token != "[CLS]"] == [f"<0x{byte:02X}>" for byte in "鸭".encode()]
    assert made.encode("").tokens == ["[CLS]"]
    assert made.token_to_id("[PAD]") == 0
